//! Texts as a line of the log holds them, written straight into its bytes.

use crate::digits::EACH;

/// Writes `text` as a JSON string. Bytes that are no UTF-8 become U+FFFD. Besides what JSON asks for, DEL and the C1 controls are
/// escaped: a terminal that shows the log must not obey a client.
pub(crate) fn quoted(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"");
    escaped(text, out);
    out.extend_from_slice(b"\"");
}

/// The same without the quotes around it.
pub(crate) fn escaped(text: &[u8], out: &mut Vec<u8>) {
    if is_plain(text) {
        return out.extend_from_slice(text);
    }
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            character_escaped(character, out);
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{FFFD}".as_bytes());
        }
    }
}

/// Whether nothing in it has to be escaped, as in nearly every text. Looked at eight bytes at a time, the last eight once more rather
/// than one by one, and without leaving early: the compiler makes two words of it one.
#[inline]
pub(crate) fn is_plain(text: &[u8]) -> bool {
    let Some(last) = text.last_chunk() else {
        let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !b"\"\\".contains(byte);
        return text.iter().all(is_plain);
    };
    let (words, _) = text.as_chunks();
    let found = words.iter().fold(0, |all, word| all | not_plain(*word));
    (found | not_plain(*last)) & (EACH << 7) == 0
}

/// A byte's highest bit is set if it is not plain; and perhaps one of those above such a byte. By arithmetic on all bytes of a word
/// (Sean Anderson, "Bit Twiddling Hacks", `hasless`).
fn not_plain(word: [u8; 8]) -> u64 {
    let word = u64::from_ne_bytes(word);
    let below = |word: u64, least: u8| word.wrapping_sub(EACH * u64::from(least)) & !word;
    let is = |byte: u8| below(word ^ (EACH * u64::from(byte)), 1);
    let above = word | word.wrapping_add(EACH);
    above | below(word, b' ') | is(b'"') | is(b'\\')
}

fn character_escaped(character: char, out: &mut Vec<u8>) {
    match character {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        control if control.is_control() => {
            // No control character is beyond U+009F.
            let code = control as usize;
            let digits = [HEX[code >> 4 & 15], HEX[code & 15]];
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&digits);
        }
        other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digits::tests::written;
    use proptest::prelude::*;

    #[test]
    fn controls_are_escaped_and_other_text_is_not() {
        let text = "a\"b\\c\n\u{1b}[2J\u{7f}\u{9b}é€";
        let expected = r#""a\"b\\c\u000a\u001b[2J\u007f\u009bé€""#;
        assert_eq!(written(|out| quoted(text.as_bytes(), out)), expected);
        assert_eq!(
            written(|out| quoted(b"a\xff\xfeb", out)),
            "\"a\u{FFFD}\u{FFFD}b\""
        );
    }

    #[test]
    fn every_byte_is_plain_or_not_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            let expected = matches!(byte, b' '..=b'~') && !b"\"\\".contains(&byte);
            for (length, place) in
                (1..50).flat_map(|length| (0..length).map(move |it| (length, it)))
            {
                let mut text = vec![b'~'; length];
                text[place] = byte;
                assert_eq!(is_plain(&text), expected, "{byte} at {place} of {length}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_parses_back_to_the_same(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let written = written(|out| quoted(&text, out));
            let read: String = serde_json::from_str(&written).unwrap();
            prop_assert_eq!(read, String::from_utf8_lossy(&text));
            prop_assert!(!written.chars().any(char::is_control));
        }

        #[test]
        fn texts_of_all_characters_parse_back_to_the_same(text in any::<String>()) {
            let written = written(|out| quoted(text.as_bytes(), out));
            prop_assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
        }
    }
}
