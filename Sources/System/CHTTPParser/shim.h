#pragma once
#include <http_parser.h>
#include <stdint.h>

// The parser calls back; these turn it around, so that its user asks for what comes next.
//
// Debian builds it to be lenient: where a line has to end, in front of a body, between its chunks and behind it, any two
// bytes will do. HTTP_EVENT_LINE lets its user look at those that it just took for CR and LF.

enum http_event {
  HTTP_EVENT_NONE,
  HTTP_EVENT_HEAD,
  HTTP_EVENT_BODY,
  HTTP_EVENT_LINE,
  HTTP_EVENT_END,
  HTTP_EVENT_FAULT
};

struct http_next {
  enum http_event event;
  /// Bytes that are done with.
  size_t consumed;
  /// The piece of the body that a HTTP_EVENT_BODY is about.
  const uint8_t *body;
  size_t body_count;
};

static inline int http_next_head(http_parser *parser) {
  ((struct http_next *)parser->data)->event = HTTP_EVENT_HEAD;
  http_parser_pause(parser, 1);
  return 0;
}

static inline int http_next_body(http_parser *parser, const char *at, size_t count) {
  struct http_next *next = parser->data;
  next->event = HTTP_EVENT_BODY;
  next->body = (const uint8_t *)at;
  next->body_count = count;
  http_parser_pause(parser, 1);
  return 0;
}

static inline int http_next_line(http_parser *parser) {
  ((struct http_next *)parser->data)->event = HTTP_EVENT_LINE;
  http_parser_pause(parser, 1);
  return 0;
}

static inline int http_next_chunk_end(http_parser *parser) {
  // That of the last one comes with the end of the whole.
  return parser->flags & F_TRAILING ? 0 : http_next_line(parser);
}

static inline int http_next_end(http_parser *parser) {
  ((struct http_next *)parser->data)->event = HTTP_EVENT_END;
  http_parser_pause(parser, 1);
  return 0;
}

/// Reads on to the next event, or to the end of the bytes. The last byte of a head, and of a body, is consumed by the
/// event that follows it.
static inline struct http_next http_parser_next(http_parser *parser, const uint8_t *bytes, size_t count) {
  static const http_parser_settings settings = {
      .on_headers_complete = http_next_head,
      .on_body = http_next_body,
      .on_message_complete = http_next_end,
      .on_chunk_header = http_next_line,
      .on_chunk_complete = http_next_chunk_end,
  };
  struct http_next next = {HTTP_EVENT_NONE, 0, 0, 0};
  parser->data = &next;
  if (HTTP_PARSER_ERRNO(parser) == HPE_PAUSED) http_parser_pause(parser, 0);
  // Nothing else than HTTP/1.1 is spoken here, whatever is asked for.
  parser->upgrade = 0;
  next.consumed = http_parser_execute(parser, &settings, (const char *)bytes, count);
  enum http_errno error = HTTP_PARSER_ERRNO(parser);
  if (error != HPE_OK && error != HPE_PAUSED) next.event = HTTP_EVENT_FAULT;
  parser->data = 0;
  return next;
}

static inline enum http_errno http_parser_error(const http_parser *parser) {
  return HTTP_PARSER_ERRNO(parser);
}

/// What a Content-Length said; UINT64_MAX without one.
static inline uint64_t http_parser_announced(const http_parser *parser) { return parser->content_length; }
static inline int http_parser_is_chunked(const http_parser *parser) { return (parser->flags & F_CHUNKED) != 0; }
/// Whether the last chunk's size has been read, and only trailers follow.
static inline int http_parser_is_trailing(const http_parser *parser) { return (parser->flags & F_TRAILING) != 0; }
static inline enum http_method http_parser_method(const http_parser *parser) {
  return (enum http_method)parser->method;
}
