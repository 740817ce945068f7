//! Values of D-Bus: what they are, and how they are put into a message and taken out of one.
//!
//! Only what messages to and from systemd are made of; there are no file descriptors among it.

/// A value with its type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `y`
    Byte(u8),
    /// `n`
    Int16(i16),
    /// `q`
    Uint16(u16),
    /// `i`
    Int32(i32),
    /// `u`
    Uint32(u32),
    /// `x`
    Int64(i64),
    /// `t`
    Uint64(u64),
    /// `d`
    Double(f64),
    /// `s`
    Str(String),
    /// `o`
    Path(String),
    /// `g`
    Signature(String),
    /// `v`
    Variant(Box<Value>),
    /// `(...)`
    Struct(Vec<Value>),
    /// `{..}`, only as an element of an array.
    Entry(Box<(Value, Value)>),
    /// `a.`, with the signature of its elements.
    Array(String, Vec<Value>),
}

impl Value {
    /// An array of bytes.
    pub fn bytes(bytes: &[u8]) -> Value {
        Value::Array("y".to_owned(), bytes.iter().copied().map(Value::Byte).collect())
    }

    /// An array of texts.
    pub fn strings<'a>(list: impl IntoIterator<Item = &'a str>) -> Value {
        Value::Array("s".to_owned(), list.into_iter().map(|text| Value::Str(text.to_owned())).collect())
    }

    /// The type in the letters of D-Bus.
    pub fn signature(&self) -> String {
        match self {
            Value::Bool(_) => "b".to_owned(),
            Value::Byte(_) => "y".to_owned(),
            Value::Int16(_) => "n".to_owned(),
            Value::Uint16(_) => "q".to_owned(),
            Value::Int32(_) => "i".to_owned(),
            Value::Uint32(_) => "u".to_owned(),
            Value::Int64(_) => "x".to_owned(),
            Value::Uint64(_) => "t".to_owned(),
            Value::Double(_) => "d".to_owned(),
            Value::Str(_) => "s".to_owned(),
            Value::Path(_) => "o".to_owned(),
            Value::Signature(_) => "g".to_owned(),
            Value::Variant(_) => "v".to_owned(),
            Value::Struct(fields) => format!("({})", signature(fields)),
            Value::Entry(entry) => format!("{{{}{}}}", entry.0.signature(), entry.1.signature()),
            Value::Array(element, _) => format!("a{element}"),
        }
    }

    /// The text of a string, a path or a variant with one of these.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Value::Str(text) | Value::Path(text) => Some(text),
            Value::Variant(inner) => inner.text(),
            _ => None,
        }
    }
}

/// The types of several values in a row.
pub(super) fn signature(values: &[Value]) -> String {
    values.iter().map(Value::signature).collect()
}

/// What a value of this type begins at a multiple of.
fn alignment(signature: &str) -> usize {
    match signature.bytes().next() {
        Some(b'n' | b'q') => 2,
        Some(b'b' | b'i' | b'u' | b's' | b'o' | b'a') => 4,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 1,
    }
}

/// Fills up with zeros.
pub(super) fn align(out: &mut Vec<u8>, to: usize) {
    out.resize(out.len().next_multiple_of(to), 0);
}

/// The length of something in the four bytes that messages have for it.
fn length(out: &[u8]) -> [u8; 4] {
    // What is sent are names and settings from one config.json, which is shorter than that.
    u32::try_from(out.len()).unwrap_or(u32::MAX).to_le_bytes()
}

/// Appends a value to a message, or to a part of one that begins at a multiple of 8.
pub(super) fn write(out: &mut Vec<u8>, value: &Value) {
    align(out, alignment(&value.signature()));
    match value {
        Value::Bool(value) => out.extend(u32::from(*value).to_le_bytes()),
        Value::Byte(value) => out.push(*value),
        Value::Int16(value) => out.extend(value.to_le_bytes()),
        Value::Uint16(value) => out.extend(value.to_le_bytes()),
        Value::Int32(value) => out.extend(value.to_le_bytes()),
        Value::Uint32(value) => out.extend(value.to_le_bytes()),
        Value::Int64(value) => out.extend(value.to_le_bytes()),
        Value::Uint64(value) => out.extend(value.to_le_bytes()),
        Value::Double(value) => out.extend(value.to_le_bytes()),
        Value::Str(text) | Value::Path(text) => {
            out.extend(length(text.as_bytes()));
            out.extend(text.as_bytes());
            out.push(0);
        }
        Value::Signature(text) => write_signature(out, text),
        Value::Variant(inner) => {
            write_signature(out, &inner.signature());
            write(out, inner);
        }
        Value::Struct(fields) => fields.iter().for_each(|field| write(out, field)),
        Value::Entry(entry) => {
            write(out, &entry.0);
            write(out, &entry.1);
        }
        Value::Array(element, items) => {
            let at = out.len();
            out.extend([0; 4]);
            // This padding does not count as the array's.
            align(out, alignment(element));
            let start = out.len();
            items.iter().for_each(|item| write(out, item));
            let bytes = length(out.get(start..).unwrap_or_default());
            if let Some(place) = out.get_mut(at..at + 4) {
                place.copy_from_slice(&bytes);
            }
        }
    }
}

fn write_signature(out: &mut Vec<u8>, text: &str) {
    out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    out.extend(text.as_bytes());
    out.push(0);
}

/// Reads values out of a message, or out of a part of one that begins at a multiple of 8.
pub(super) struct Reader<'a> {
    data: &'a [u8],
    at: usize,
    big_endian: bool,
}

/// How deep values may be within each other, as the specification has it.
const DEPTH: u32 = 64;

impl<'a> Reader<'a> {
    pub(super) fn new(data: &'a [u8], big_endian: bool) -> Self {
        Reader { data, at: 0, big_endian }
    }

    /// The values of this signature; `None` when the message makes no sense.
    pub(super) fn values(&mut self, mut signature: &str) -> Option<Vec<Value>> {
        let mut values = Vec::new();
        while !signature.is_empty() {
            let (first, rest) = split(signature)?;
            values.push(self.value(first, DEPTH)?);
            signature = rest;
        }
        Some(values)
    }

    fn value(&mut self, signature: &str, depth: u32) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        self.at = self.at.next_multiple_of(alignment(signature));
        Some(match signature.as_bytes() {
            b"b" => Value::Bool(self.u32()? != 0),
            b"y" => Value::Byte(u8::from_le_bytes(self.number()?)),
            b"n" => Value::Int16(i16::from_le_bytes(self.number()?)),
            b"q" => Value::Uint16(u16::from_le_bytes(self.number()?)),
            b"i" => Value::Int32(i32::from_le_bytes(self.number()?)),
            b"u" => Value::Uint32(self.u32()?),
            b"x" => Value::Int64(i64::from_le_bytes(self.number()?)),
            b"t" => Value::Uint64(u64::from_le_bytes(self.number()?)),
            b"d" => Value::Double(f64::from_le_bytes(self.number()?)),
            b"s" | b"o" => {
                let length = self.u32()?;
                let text = self.text(length)?;
                if signature == "s" { Value::Str(text) } else { Value::Path(text) }
            }
            b"g" => Value::Signature(self.signature()?),
            b"v" => {
                let inner = self.signature()?;
                let (first, "") = split(&inner)? else { return None };
                Value::Variant(Box::new(self.value(first, depth)?))
            }
            [b'a', ..] => {
                let element = signature.get(1..)?;
                let length = usize::try_from(self.u32()?).ok()?;
                self.at = self.at.next_multiple_of(alignment(element));
                let end = self.at.checked_add(length).filter(|end| *end <= self.data.len())?;
                let mut items = Vec::new();
                while self.at < end {
                    items.push(self.value(element, depth)?);
                }
                Value::Array(element.to_owned(), items)
            }
            [b'(', inner @ .., b')'] => {
                let mut rest = std::str::from_utf8(inner).ok()?;
                let mut fields = Vec::new();
                while !rest.is_empty() {
                    let (first, after) = split(rest)?;
                    fields.push(self.value(first, depth)?);
                    rest = after;
                }
                Value::Struct(fields)
            }
            [b'{', inner @ .., b'}'] => {
                let (key, value) = split(std::str::from_utf8(inner).ok()?)?;
                Value::Entry(Box::new((self.value(key, depth)?, self.value(value, depth)?)))
            }
            _ => return None,
        })
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.data.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes: [u8; N] = self.take(N)?.try_into().ok()?;
        if self.big_endian {
            bytes.reverse();
        }
        Some(bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.number().map(u32::from_le_bytes)
    }

    fn text(&mut self, length: u32) -> Option<String> {
        let text = self.take(usize::try_from(length).ok()?)?.to_vec();
        (self.take(1)? == [0]).then_some(())?;
        String::from_utf8(text).ok()
    }

    fn signature(&mut self) -> Option<String> {
        let [length] = self.number()?;
        self.text(u32::from(length))
    }
}

/// The first complete type of a signature, and the rest.
pub(super) fn split(signature: &str) -> Option<(&str, &str)> {
    let mut depth = 0_u32;
    for (n, letter) in signature.bytes().enumerate() {
        match letter {
            b'(' | b'{' => depth += 1,
            b')' | b'}' => depth = depth.checked_sub(1)?,
            b'a' => continue,
            b'b' | b'y' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd' | b's' | b'o' | b'g' | b'v' => {}
            _ => return None,
        }
        if depth == 0 {
            return signature.split_at_checked(n + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, value);
        out
    }

    #[test]
    fn bytes_are_those_of_the_specification() {
        // The examples of the specification's section on marshalling, and what systemd is sent.
        for (value, bytes) in [
            (Value::Str("foo".to_owned()), &[3, 0, 0, 0, b'f', b'o', b'o', 0][..]),
            (Value::Bool(true), &[1, 0, 0, 0]),
            (Value::Variant(Box::new(Value::Byte(5))), &[1, b'y', 0, 5]),
            (
                Value::Array("x".to_owned(), vec![Value::Int64(5)]),
                &[8, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0],
            ),
            (Value::Array("x".to_owned(), vec![]), &[0; 8]),
            (Value::Array("u".to_owned(), vec![Value::Uint32(7)]), &[4, 0, 0, 0, 7, 0, 0, 0]),
            (Value::Struct(vec![Value::Byte(1), Value::Uint16(2)]), &[1, 0, 2, 0]),
        ] {
            assert_eq!(written(&value), bytes, "{value:?}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let text = |text: &str| Value::Str(text.to_owned());
        let pair = |a, b| Value::Struct(vec![a, b]);
        let values = [
            Value::Byte(9),
            Value::Array(
                "(sv)".to_owned(),
                vec![
                    pair(text("MemoryMax"), Value::Variant(Box::new(Value::Uint64(u64::MAX)))),
                    pair(
                        text("PIDs"),
                        Value::Variant(Box::new(Value::Array("u".to_owned(), vec![Value::Uint32(1)]))),
                    ),
                ],
            ),
            Value::Array(
                "{sv}".to_owned(),
                vec![Value::Entry(Box::new((text("k"), Value::Variant(Box::new(Value::Double(-0.5))))))],
            ),
            Value::Int16(-2),
            Value::Int64(i64::MIN),
            Value::Path("/a".to_owned()),
            Value::Signature("a(ss)".to_owned()),
            Value::bytes(&[1, 2]),
            Value::strings(["a", ""]),
        ];
        let mut out = Vec::new();
        values.iter().for_each(|value| write(&mut out, value));
        let signature = signature(&values);
        assert_eq!(signature, "ya(sv)a{sv}nxogayas");
        assert_eq!(Reader::new(&out, false).values(&signature), Some(values.to_vec()));
        // Whatever is missing or strange is noticed.
        for end in 0..out.len() {
            assert_eq!(Reader::new(&out[..end], false).values(&signature), None, "{end}");
        }
        assert_eq!(
            Reader::new(&[0, 0, 0, 1, 0, 7], true).values("uq"),
            Some(vec![Value::Uint32(1), Value::Uint16(7)])
        );
        for bad in ["(", "a", "a{s", "h", ")", "(s}"] {
            assert_eq!(Reader::new(&[0; 64], false).values(bad), None, "{bad}");
        }
        let deep = "a".repeat(80) + "y";
        let lengths: Vec<u8> =
            (0..80_u32).rev().flat_map(|n| (4 * n + 1).to_le_bytes()).chain([0; 8]).collect();
        assert_eq!(Reader::new(&lengths, false).values(&deep), None);
    }
}
