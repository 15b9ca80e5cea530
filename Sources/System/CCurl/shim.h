#pragma once
#include <curl/curl.h>

// Swift cannot call C functions with variable arguments; these fix the argument's type.

static inline CURLcode curl_set_long(CURL *easy, CURLoption option, long value) {
  return curl_easy_setopt(easy, option, value);
}
static inline CURLcode curl_set_offset(CURL *easy, CURLoption option, curl_off_t value) {
  return curl_easy_setopt(easy, option, value);
}
static inline CURLcode curl_set_pointer(CURL *easy, CURLoption option, const void *value) {
  return curl_easy_setopt(easy, option, value);
}
static inline CURLcode curl_set_text(CURL *easy, CURLoption option, const char *value) {
  return curl_easy_setopt(easy, option, value);
}

typedef size_t (*curl_data_callback)(char *data, size_t size, size_t count, void *context);

static inline CURLcode curl_set_on_data(
    CURL *easy, curl_data_callback body, curl_data_callback header, void *context) {
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, context);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, header);
  return curl_easy_setopt(easy, CURLOPT_HEADERDATA, context);
}

static inline CURLcode curl_set_on_upload(CURL *easy, curl_data_callback read, void *context) {
  curl_easy_setopt(easy, CURLOPT_READFUNCTION, read);
  return curl_easy_setopt(easy, CURLOPT_READDATA, context);
}

static inline CURLcode curl_set_on_progress(CURL *easy, curl_xferinfo_callback progress, void *context) {
  curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, progress);
  return curl_easy_setopt(easy, CURLOPT_XFERINFODATA, context);
}

static inline CURLcode curl_set_on_socket(
    CURL *easy, curl_opensocket_callback open, curl_closesocket_callback close, void *context) {
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, context);
  curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, close);
  return curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, context);
}

static inline CURLMcode curl_multi_set_callbacks(
    CURLM *multi, curl_socket_callback socket, curl_multi_timer_callback timer, void *context) {
  curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, socket);
  curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, context);
  curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, timer);
  return curl_multi_setopt(multi, CURLMOPT_TIMERDATA, context);
}
static inline CURLMcode curl_multi_set_long(CURLM *multi, CURLMoption option, long value) {
  return curl_multi_setopt(multi, option, value);
}

static inline void *curl_private(CURL *easy) {
  char *value = NULL;
  curl_easy_getinfo(easy, CURLINFO_PRIVATE, &value);
  return value;
}
static inline long curl_status(CURL *easy) {
  long value = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &value);
  return value;
}
/// Bytes of the request that were sent, of its headers and its body.
static inline long long curl_bytes_sent(CURL *easy) {
  long headers = 0;
  curl_off_t body = 0;
  curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &headers);
  curl_easy_getinfo(easy, CURLINFO_SIZE_UPLOAD_T, &body);
  return (long long)headers + (long long)body;
}

/// The transfer that a message says is done, and its result; `NULL` for other messages.
static inline CURL *curl_message_done(const CURLMsg *message, CURLcode *result) {
  if (message->msg != CURLMSG_DONE) return NULL;
  *result = message->data.result;
  return message->easy_handle;
}
