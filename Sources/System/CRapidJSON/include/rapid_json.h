#pragma once
#include <stddef.h>
#include <stdint.h>

// RapidJSON for Swift: a reader that lays the values of a text out one after the other, and a writer that is told one
// value after the other. Both work in memory of the calling thread, which its next call of the same kind uses again.

#ifdef __cplusplus
extern "C" {
#endif

enum json_kind {
  JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_INTEGER, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT
};

/// A value. The elements of an array follow it, each with all that is in it; the members of an object likewise, each
/// as its name, a string, and its value.
struct json_node {
  uint32_t kind;
  /// Bytes of a string, elements of an array, members of an object.
  uint32_t count;
  union {
    int64_t integer;
    double number;
    /// Where a string begins in `strings`.
    size_t offset;
  };
};

struct json_document {
  /// The values, the outermost first; `NULL` if the text is not JSON.
  const struct json_node *nodes;
  /// The strings' bytes, unescaped; not known to be UTF-8.
  const char *strings;
  /// What is wrong, and before which byte of the text.
  const char *error;
  size_t error_offset;
};

/// Reads a text. Two members of one name, a zero character, an integer beyond 64 bits, a number beyond a double and
/// nesting deeper than `depth` are errors.
struct json_document json_read(const char *text, size_t size, uint32_t depth);

struct json_text {
  const char *bytes;
  size_t size;
};

typedef struct json_writer json_writer;

/// Begins a text, and forgets the one before.
json_writer *json_write(void);
void json_write_null(json_writer *);
void json_write_bool(json_writer *, int value);
void json_write_integer(json_writer *, int64_t value);
/// `value` is finite.
void json_write_number(json_writer *, double value);
/// `bytes` are UTF-8.
void json_write_string(json_writer *, const char *bytes, size_t size);
void json_write_array_start(json_writer *);
void json_write_array_end(json_writer *);
void json_write_object_start(json_writer *);
/// `bytes` are UTF-8.
void json_write_name(json_writer *, const char *bytes, size_t size);
void json_write_object_end(json_writer *);
/// The text so far, compact, until the thread's next `json_write`.
struct json_text json_written(json_writer *);

#ifdef __cplusplus
}
#endif
