#include "rapid_json.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <string_view>
#include <vector>

// Without RAPIDJSON_SSE2: its scan of strings in 1.1.0 lets 0x1A to 0x1F through.
#include <rapidjson/error/en.h>
#include <rapidjson/reader.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

using namespace rapidjson;

namespace {

/// A thread keeps up to this much memory from one text to the next.
constexpr size_t kept = 1 << 20;

template <class Element>
void clear(std::vector<Element> &list) {
  list.clear();
  if (list.capacity() * sizeof(Element) > kept) std::vector<Element>().swap(list);
}

/// Takes the reader's events down. A handler that answers `false` ends the reading.
struct Handler : BaseReaderHandler<UTF8<>, Handler> {
  std::vector<json_node> nodes;
  std::vector<char> strings;
  /// The containers that are open, as places in `nodes`.
  std::vector<size_t> open;
  /// The names of the members of the objects that are open.
  std::vector<json_node> names;
  uint32_t depth;
  const char *error;

  void begin(uint32_t allowed) {
    clear(nodes), clear(strings), clear(open), clear(names);
    depth = allowed;
    error = nullptr;
  }

  bool refuse(const char *why) { return error = why, false; }
  bool add(json_kind kind) { return nodes.push_back({kind, 0, {}}), true; }

  bool Null() { return add(JSON_NULL); }
  bool Bool(bool value) { return add(value ? JSON_TRUE : JSON_FALSE); }

  bool RawNumber(const char *text, SizeType size, bool) {
    json_node node{JSON_INTEGER, 0, {}};
    const char *end = text + size;
    if (std::find_if(text, end, [](char c) { return c == '.' || c == 'e' || c == 'E'; }) == end) {
      if (std::from_chars(text, end, node.integer).ec != std::errc()) {
        return refuse("integer beyond 64 bits");
      }
    } else {
      node.kind = JSON_NUMBER;
      if (!number(text, end, node.number)) return refuse("number beyond a double");
    }
    return nodes.push_back(node), true;
  }

  /// One that is too small is zero.
  static bool number(const char *text, const char *end, double &value) {
    if (std::from_chars(text, end, value).ec == std::errc()) return true;
    value = std::strtod(text, nullptr);
    return std::abs(value) < 1;
  }

  bool String(const char *text, SizeType size, bool) {
    if (std::memchr(text, 0, size)) return refuse("zero character in a string");
    json_node node{JSON_STRING, size, {}};
    node.offset = strings.size();
    strings.insert(strings.end(), text, text + size);
    return nodes.push_back(node), true;
  }

  bool Key(const char *text, SizeType size, bool copy) {
    return String(text, size, copy) && (names.push_back(nodes.back()), true);
  }

  bool start(json_kind kind) {
    if (open.size() == depth) return refuse("nested too deep");
    open.push_back(nodes.size());
    return add(kind);
  }
  void end(SizeType count) {
    nodes[open.back()].count = count;
    open.pop_back();
  }

  bool StartArray() { return start(JSON_ARRAY); }
  bool EndArray(SizeType count) { return end(count), true; }
  bool StartObject() { return start(JSON_OBJECT); }
  bool EndObject(SizeType count) {
    end(count);
    auto first = names.end() - count;
    auto name = [&](const json_node &node) { return std::string_view(strings.data() + node.offset, node.count); };
    auto before = [&](const json_node &a, const json_node &b) { return name(a) < name(b); };
    auto same = [&](const json_node &a, const json_node &b) { return name(a) == name(b); };
    std::sort(first, names.end(), before);
    if (std::adjacent_find(first, names.end(), same) != names.end()) {
      return refuse("two members of one name");
    }
    names.erase(first, names.end());
    return true;
  }
};

}  // namespace

json_document json_read(const char *text, size_t size, uint32_t depth) {
  static thread_local Handler handler;
  static thread_local std::vector<char> copy;
  if (size >= std::numeric_limits<uint32_t>::max()) return {nullptr, nullptr, "text of 4 GiB or more", 0};

  // A stream ends with a zero.
  clear(copy);
  copy.assign(text, text + size);
  copy.push_back(0);
  StringStream stream(copy.data());
  Reader reader;
  handler.begin(depth);
  auto result = reader.Parse<kParseNumbersAsStringsFlag>(stream, handler);
  if (result.IsError()) {
    auto error = handler.error ? handler.error : GetParseError_En(result.Code());
    return {nullptr, nullptr, error, std::min(result.Offset(), size)};
  }
  if (stream.Tell() != size) return {nullptr, nullptr, "zero character after the value", stream.Tell()};
  return {handler.nodes.data(), handler.strings.data(), nullptr, 0};
}

struct json_writer {
  StringBuffer buffer;
  Writer<StringBuffer> writer{buffer};
};

json_writer *json_write(void) {
  static thread_local json_writer text;
  // A string reserves six times its size, for escapes.
  bool isLarge = text.buffer.stack_.GetCapacity() > kept;
  text.buffer.Clear();
  if (isLarge) text.buffer.ShrinkToFit();
  text.writer.Reset(text.buffer);
  return &text;
}
void json_write_null(json_writer *text) { text->writer.Null(); }
void json_write_bool(json_writer *text, int value) { text->writer.Bool(value != 0); }
void json_write_integer(json_writer *text, int64_t value) { text->writer.Int64(value); }
void json_write_number(json_writer *text, double value) { text->writer.Double(value); }
void json_write_string(json_writer *text, const char *bytes, size_t size) {
  text->writer.String(bytes ? bytes : "", static_cast<SizeType>(size));
}
void json_write_array_start(json_writer *text) { text->writer.StartArray(); }
void json_write_array_end(json_writer *text) { text->writer.EndArray(); }
void json_write_object_start(json_writer *text) { text->writer.StartObject(); }
void json_write_name(json_writer *text, const char *bytes, size_t size) {
  text->writer.Key(bytes ? bytes : "", static_cast<SizeType>(size));
}
void json_write_object_end(json_writer *text) { text->writer.EndObject(); }
json_text json_written(json_writer *text) { return {text->buffer.GetString(), text->buffer.GetSize()}; }
