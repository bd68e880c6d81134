//! What a `Cookie` field holds (RFC 6265 4.2), without changing a byte of it.

/// The value of the first cookie of this name.
pub(crate) fn find<'c>(field: &'c [u8], name: &str) -> Option<&'c [u8]> {
    all(field, name).next()
}

/// The values of every cookie of this name: a browser sends several if they are for different paths.
pub(crate) fn all<'c>(field: &'c [u8], name: &str) -> impl Iterator<Item = &'c [u8]> {
    pairs(field).filter_map(move |pair| value(pair, name))
}

/// Writes the field's value without the cookies of this name; nothing if no other is there.
pub(crate) fn write_others(field: &[u8], name: &str, out: &mut Vec<u8>) {
    let begin = out.len();
    for pair in pairs(field).filter(|pair| value(pair, name).is_none()) {
        match out.len() == begin {
            true => out.extend_from_slice(pair.trim_ascii_start()),
            false => {
                out.push(b';');
                out.extend_from_slice(pair);
            }
        }
    }
}

/// With the white space around them.
fn pairs(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    field.split(|byte| *byte == b';')
}

fn value<'c>(pair: &'c [u8], name: &str) -> Option<&'c [u8]> {
    let rest = pair.trim_ascii().strip_prefix(name.as_bytes())?;
    let value = rest.trim_ascii_start().strip_prefix(b"=")?;
    Some(value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookie_is_found_by_its_whole_name() {
        let field = b"ab=1; a=2;b=3 ;a=4; c; d=\"5\"";
        assert_eq!(find(field, "a"), Some(&b"2"[..]));
        assert_eq!(find(field, "b"), Some(&b"3"[..]));
        assert_eq!(find(field, "d"), Some(&b"\"5\""[..]));
        assert_eq!(
            (find(field, "c"), find(field, "x"), find(b"", "a")),
            (None, None, None)
        );
        assert!(all(field, "a").eq([b"2", b"4"]));
    }

    #[test]
    fn others_stay_as_they_are() {
        for (field, expected) in [
            ("own=1; b=2", "b=2"),
            ("a=1; own=1", "a=1"),
            ("a=1;own=1;b=2", "a=1;b=2"),
            ("a=1;  b = 2 ; own=1; own=2; c", "a=1;  b = 2 ; c"),
            ("own=1", ""),
            ("owner=1; c=own=2", "owner=1; c=own=2"),
            ("", ""),
        ] {
            let mut out = b"before".to_vec();
            write_others(field.as_bytes(), "own", &mut out);
            assert_eq!(String::from_utf8_lossy(&out), format!("before{expected}"));
        }
    }
}
