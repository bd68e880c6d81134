//! A message as it was read: nothing is checked, nothing normalised.

/// One request or answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Its first line, without the line end.
    pub start: String,
    /// Its header lines in their order: name as written, value without the space around it.
    pub fields: Vec<(String, String)>,
    /// Its body, without framing.
    pub body: Vec<u8>,
    /// The lines of its trailer section.
    pub trailers: Vec<(String, String)>,
    /// The head's exact bytes, the empty line included.
    pub head: Vec<u8>,
}

impl Message {
    pub(crate) fn of_head(head: Vec<u8>) -> Self {
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut lines = text.lines();
        Message {
            start: lines.next().unwrap_or_default().to_owned(),
            fields: lines.filter_map(field).collect(),
            head,
            ..Message::default()
        }
    }

    /// An answer's status; 0 if its first line has none.
    pub fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }

    /// A request's method.
    pub fn method(&self) -> &str {
        self.word(0)
    }

    /// A request's target.
    pub fn target(&self) -> &str {
        self.word(1)
    }

    fn word(&self, index: usize) -> &str {
        self.start.split(' ').nth(index).unwrap_or_default()
    }

    /// The first field of this name, in any case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Every field of this name.
    pub fn all<'m>(&'m self, name: &str) -> impl Iterator<Item = &'m str> {
        self.fields
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Whether there is a field of this name.
    pub fn has(&self, name: &str) -> bool {
        self.field(name).is_some()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn is_chunked(&self) -> bool {
        self.field("transfer-encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
    }

    pub(crate) fn length(&self) -> Option<usize> {
        self.field("content-length")?.parse().ok()
    }
}

/// A header line's name and value; `None` for what is no header line.
pub(crate) fn field(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.to_owned(), value.trim().to_owned()))
}
