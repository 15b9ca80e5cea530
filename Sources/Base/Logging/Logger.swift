import Foundation
import Synchronization
import Text

/// Writes structured log lines to standard error: JSON lines, or readable text on a terminal and from commands that people
/// type.
///
/// Messages are constant; values go into metadata under dotted keys. Never log secrets or payloads.
/// Each line is one `write` of at most 4,096 bytes, so lines of several processes in one file or pipe do not tear.
/// A line that nobody has room for, as when a pipe's reader has stopped, is dropped and counted, not waited for.
package struct Logger: Sendable {
  package enum Level: String, Sendable, Comparable, CaseIterable {
    case debug, info, notice, warning, error

    package static func < (a: Level, b: Level) -> Bool {
      allCases.firstIndex(of: a).unsafelyUnwrapped < allCases.firstIndex(of: b).unsafelyUnwrapped
    }
  }

  package typealias Metadata = [String: any CustomStringConvertible & Sendable]

  /// Bytes that a pipe takes as a whole.
  private static let lineLimit = 4096
  /// Characters that each value of a line beyond that limit is cut to.
  private static let cutValue = 200

  /// Who reads what this process logs.
  package enum Readers: Sendable {
    /// Programs, and people only where standard error is a terminal.
    case programs
    /// Whoever typed the command, wherever its standard error goes.
    case people
  }

  /// The lowest level written by this process and whether people read along, both of which are set once at start.
  private static let settings = Mutex<(level: Level, areReadByPeople: Bool)>((.info, isatty(2) == 1))
  /// Lines dropped since the last one that was written. Held while writing.
  private static let dropped = Mutex(0)

  package let label: String
  private let metadata: Metadata

  package init(label: String, metadata: Metadata = [:]) {
    self.label = label
    self.metadata = metadata
  }

  /// Sets the lowest level that this process writes.
  package static func configure(level: Level) {
    settings.withLock { $0.level = level }
  }

  /// Sets who reads what this process writes.
  package static func configure(readers: Readers) {
    settings.withLock { $0.areReadByPeople = readers == .people || isatty(2) == 1 }
  }

  /// A logger that adds `metadata` to every line.
  package func with(_ metadata: Metadata) -> Logger {
    Logger(label: label, metadata: self.metadata.merging(metadata) { $1 })
  }

  package func debug(_ message: StaticString, _ metadata: @autoclosure () -> Metadata = [:]) {
    log(.debug, message, metadata())
  }
  package func info(_ message: StaticString, _ metadata: @autoclosure () -> Metadata = [:]) {
    log(.info, message, metadata())
  }
  package func notice(_ message: StaticString, _ metadata: @autoclosure () -> Metadata = [:]) {
    log(.notice, message, metadata())
  }
  package func warning(_ message: StaticString, _ metadata: @autoclosure () -> Metadata = [:]) {
    log(.warning, message, metadata())
  }
  package func error(_ message: StaticString, _ metadata: @autoclosure () -> Metadata = [:]) {
    log(.error, message, metadata())
  }

  func log(_ level: Level, _ message: StaticString, _ extra: @autoclosure () -> Metadata) {
    let settings = Self.settings.withLock { $0 }
    guard level >= settings.level else { return }
    let metadata = self.metadata.merging(extra()) { $1 }
    var line = self.line(level, message, metadata, forPeople: settings.areReadByPeople)
    if line.utf8.count > Self.lineLimit {
      let cut: Metadata = metadata.mapValues { String("\($0)".prefix(Self.cutValue)) + "…" }
      line = self.line(level, message, cut, forPeople: settings.areReadByPeople)
    }
    Self.dropped.withLock { dropped in
      if dropped > 0, Self.hasRoom {
        Self.write(
          self.line(
            .warning, "log lines were dropped", ["log.dropped": dropped], forPeople: settings.areReadByPeople)
        )
        dropped = 0
      }
      if Self.hasRoom { Self.write(line) } else { dropped += 1 }
    }
  }

  private static var hasRoom: Bool {
    var target = pollfd(fd: 2, events: Int16(POLLOUT), revents: 0)
    return poll(&target, 1, 0) == 1 && target.revents & Int16(POLLOUT) != 0
  }

  private static func write(_ line: String) {
    var line = line
    line.withUTF8 { bytes in _ = Foundation.write(2, bytes.baseAddress, bytes.count) }
  }

  private func line(
    _ level: Level, _ message: StaticString, _ metadata: Metadata, forPeople: Bool
  ) -> String {
    let metadata = metadata.sorted { $0.key < $1.key }
    var line = ""
    if forPeople {
      line += "\(Self.timestamp()) \(level.rawValue) \(label): \(message)"
      for (key, value) in metadata { line += " \(key)=\(Escaping.terminal("\(value)"))" }
    } else {
      line += #"{"time":"\#(Self.timestamp())","level":"\#(level.rawValue)","label":\#(Self.quoted(label)),"#
      line += #""message":\#(Self.quoted("\(message)")),"pid":\#(getpid())"#
      for (key, value) in metadata { line += ",\(Self.quoted(key)):\(Self.quoted("\(value)"))" }
      line += "}"
    }
    return line + "\n"
  }

  private static func timestamp() -> String {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    var parts = tm()
    gmtime_r(&now.tv_sec, &parts)
    func pad(_ value: some BinaryInteger, _ width: Int) -> String {
      let text = String(value)
      return String(repeating: "0", count: max(0, width - text.count)) + text
    }
    return "\(parts.tm_year + 1900)-\(pad(parts.tm_mon + 1, 2))-\(pad(parts.tm_mday, 2))T"
      + "\(pad(parts.tm_hour, 2)):\(pad(parts.tm_min, 2)):\(pad(parts.tm_sec, 2))."
      + "\(pad(now.tv_nsec / 1_000_000, 3))Z"
  }

  private static func quoted(_ text: String) -> String {
    var out = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": out += "\\\""
      case "\\": out += "\\\\"
      case "\n": out += "\\n"
      case "\r": out += "\\r"
      case "\t": out += "\\t"
      // A log is also read in terminals.
      case let scalar where scalar.steersText && scalar.value <= 0xFFFF:
        let hex = String(scalar.value, radix: 16)
        out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
      default: out.unicodeScalars.append(scalar)
      }
    }
    return out + "\""
  }
}
