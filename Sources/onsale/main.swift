print("onsale")
