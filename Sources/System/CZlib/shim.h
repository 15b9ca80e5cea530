#pragma once
#include <zlib.h>

// A macro with the size of the structure, which Swift does not see.

// 15 bits of window, and 16 more for the wrapping of gzip.
static inline int z_gzip_init(z_stream *stream, int level) {
  return deflateInit2(stream, level, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY);
}
