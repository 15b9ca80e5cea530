extension Unicode.Scalar {
  /// Whether it steers how text is shown or read rather than being text: control characters, separators of
  /// lines and paragraphs, whatever turns the direction of writing, marks of byte order and annotation, and
  /// what will never be a character.
  ///
  /// A name with one of these may show as another name, move a terminal's cursor, or break the line that it
  /// stands in. Joiners and combining characters, which names are written with, are none of them.
  package var steersText: Bool {
    switch value {
    case 0x20...0x7E: false
    case 0...0x1F, 0x7F...0x9F: true
    case 0x061C, 0x200E, 0x200F, 0x2028...0x202E, 0x2066...0x206F: true
    case 0xFEFF, 0xFFF9...0xFFFB, 0xFDD0...0xFDEF: true
    default: value & 0xFFFE == 0xFFFE
    }
  }

  /// Whether nothing of it is seen on its own: blanks, characters without a width, and those whose glyph is empty.
  package var isInvisible: Bool {
    properties.isWhitespace || properties.isDefaultIgnorableCodePoint || properties.generalCategory == .format
      || value == 0x2800
  }
}
