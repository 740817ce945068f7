//! The text format of GVariant, in which annotations give properties of the unit.
//!
//! Owns: `annotations` that begin with `org.systemd.property.`.
//!
//! A number without a type is an `int32`, or a `double` if it has a point or an exponent, as in GLib; a type may
//! stand before the value, as `uint64 5`, or as `@t 5`. In an array one element that has a type gives it to all.
use super::properties::Property;
use super::value::{Value, split};

/// What annotations begin with that are properties.
const PREFIX: &str = "org.systemd.property.";
/// How deep values may be within each other.
const DEPTH: u32 = 32;

/// The property that an annotation stands for; `None` for other annotations.
///
/// What systemd documents in seconds (`TimeoutStopSec`) it takes in microseconds under another name
/// (`TimeoutStopUSec`); either name can be given.
pub fn annotation(key: &str, value: &str) -> Option<Result<Property, String>> {
    key.strip_prefix(PREFIX).map(|name| property(name, value))
}

fn property(name: &str, text: &str) -> Result<Property, String> {
    if name.len() < 3 {
        return Err("name incorrect: too short".to_owned());
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err("name incorrect: contains non-alphabetic character".to_owned());
    }
    let wrong = |why: &str| format!("value {text:?} parse error: {why}");
    let value = parse(text).map_err(|why| wrong(&why))?;
    match name.strip_suffix("Sec").filter(|rest| rest.ends_with(|c: char| c.is_ascii_lowercase())) {
        Some(rest) => {
            let microseconds = microseconds(&value).ok_or_else(|| wrong("not a number of seconds"))?;
            Ok(Property::new(format!("{rest}USec"), Value::Uint64(microseconds)))
        }
        None => Ok(Property::new(name, value)),
    }
}

fn microseconds(value: &Value) -> Option<u64> {
    let seconds = match *value {
        Value::Byte(n) => u64::from(n),
        Value::Uint16(n) => u64::from(n),
        Value::Uint32(n) => u64::from(n),
        Value::Uint64(n) => n,
        Value::Int16(n) => n.try_into().ok()?,
        Value::Int32(n) => n.try_into().ok()?,
        Value::Int64(n) => n.try_into().ok()?,
        Value::Double(n) => {
            return u64::try_from(std::time::Duration::try_from_secs_f64(n).ok()?.as_micros()).ok();
        }
        _ => return None,
    };
    seconds.checked_mul(1_000_000)
}

/// A value as it is written, before its type is settled.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Bool(bool),
    Number(String),
    Text(String),
    Bytes(Vec<u8>),
    Array(Vec<Node>),
    Dict(Vec<(Node, Node)>),
    Tuple(Vec<Node>),
    Variant(Box<Node>),
    /// A value of a type that is given.
    Typed(String, Box<Node>),
}

/// Parses a value.
fn parse(text: &str) -> Result<Value, String> {
    let mut parser = Parser { rest: text };
    let node = parser.node(DEPTH)?;
    parser.space();
    if !parser.rest.is_empty() {
        return Err(format!("unexpected {:?}", parser.rest));
    }
    let signature = infer(&node)?;
    settle(node, &signature)
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Whether `token` comes next, which then is behind us.
    fn take(&mut self, token: &str) -> bool {
        self.space();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.take(token) { Ok(()) } else { Err(format!("expected {token:?} at {:?}", self.rest)) }
    }

    fn word(&mut self) -> &'a str {
        self.space();
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-._".contains(c)));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    fn node(&mut self, depth: u32) -> Result<Node, String> {
        let depth = depth.checked_sub(1).ok_or("too deep")?;
        self.space();
        if self.take("@") {
            let end = self.rest.find(|c: char| c.is_whitespace()).ok_or("a type without a value")?;
            let (signature, rest) = self.rest.split_at(end);
            self.rest = rest;
            if split(signature).is_none_or(|(_, rest)| !rest.is_empty()) {
                return Err(format!("invalid type {signature:?}"));
            }
            return Ok(Node::Typed(signature.to_owned(), Box::new(self.node(depth)?)));
        }
        if self.take("[") {
            return Ok(Node::Array(self.list("]", |parser| parser.node(depth))?));
        }
        if self.take("(") {
            return Ok(Node::Tuple(self.list(")", |parser| parser.node(depth))?));
        }
        if self.take("{") {
            let pair = |parser: &mut Self| {
                let key = parser.node(depth)?;
                parser.expect(":")?;
                Ok((key, parser.node(depth)?))
            };
            return Ok(Node::Dict(self.list("}", pair)?));
        }
        if self.take("<") {
            let inner = self.node(depth)?;
            self.expect(">")?;
            return Ok(Node::Variant(Box::new(inner)));
        }
        if let Some(rest) = self.rest.strip_prefix('b').filter(|rest| rest.starts_with(['\'', '"'])) {
            self.rest = rest;
            let mut bytes = self.quoted()?.into_bytes();
            bytes.push(0);
            return Ok(Node::Bytes(bytes));
        }
        if self.rest.starts_with(['\'', '"']) {
            return Ok(Node::Text(self.quoted()?));
        }
        self.word_node(depth)
    }

    /// A number, a truth value, or the name of a type before a value.
    fn word_node(&mut self, depth: u32) -> Result<Node, String> {
        let word = self.word();
        let signature = match word {
            "true" => return Ok(Node::Bool(true)),
            "false" => return Ok(Node::Bool(false)),
            "boolean" => "b",
            "byte" => "y",
            "int16" => "n",
            "uint16" => "q",
            "int32" => "i",
            "uint32" => "u",
            "int64" => "x",
            "uint64" => "t",
            "double" => "d",
            "string" => "s",
            "objectpath" => "o",
            "signature" => "g",
            _ if word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => {
                return Ok(Node::Number(word.to_owned()));
            }
            _ => return Err(format!("unexpected {:?}", format!("{word}{}", self.rest))),
        };
        Ok(Node::Typed(signature.to_owned(), Box::new(self.node(depth)?)))
    }

    /// Items with commas between them, up to `end`; a comma may stand before that.
    fn list<T>(
        &mut self,
        end: &str,
        mut item: impl FnMut(&mut Self) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let mut items = Vec::new();
        while !self.take(end) {
            items.push(item(self)?);
            if !self.take(",") {
                self.expect(end)?;
                break;
            }
        }
        Ok(items)
    }

    /// A text in quotes.
    fn quoted(&mut self) -> Result<String, String> {
        let mut letters = self.rest.chars();
        let quote = letters.next();
        let mut text = String::new();
        loop {
            let letter = letters.next().ok_or("a text has no end")?;
            text.push(match letter {
                _ if Some(letter) == quote => break,
                '\\' => match letters.next().ok_or("a text has no end")? {
                    'a' => '\x07',
                    'b' => '\x08',
                    'f' => '\x0c',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'v' => '\x0b',
                    kind @ ('u' | 'U') => {
                        let length = if kind == 'u' { 4 } else { 8 };
                        let code: String = letters.by_ref().take(length).collect();
                        let number = u32::from_str_radix(&code, 16).ok().filter(|_| code.len() == length);
                        number
                            .and_then(char::from_u32)
                            .ok_or_else(|| format!("no character: \\{kind}{code}"))?
                    }
                    other => other,
                },
                other => other,
            });
        }
        if text.contains('\0') {
            return Err("a text must not contain a zero".to_owned());
        }
        self.rest = letters.as_str();
        Ok(text)
    }
}

/// The type of what says nothing of it.
fn infer(node: &Node) -> Result<String, String> {
    Ok(match node {
        Node::Bool(_) => "b".to_owned(),
        Node::Number(text) if is_real(text) => "d".to_owned(),
        Node::Number(_) => "i".to_owned(),
        Node::Text(_) => "s".to_owned(),
        Node::Bytes(_) => "ay".to_owned(),
        Node::Variant(_) => "v".to_owned(),
        Node::Typed(signature, _) => signature.clone(),
        Node::Tuple(items) => {
            format!("({})", items.iter().map(infer).collect::<Result<Vec<_>, _>>()?.concat())
        }
        Node::Array(items) => format!("a{}", common(&items.iter().collect::<Vec<_>>())?),
        Node::Dict(pairs) => {
            let keys = common(&pairs.iter().map(|pair| &pair.0).collect::<Vec<_>>())?;
            let values = common(&pairs.iter().map(|pair| &pair.1).collect::<Vec<_>>())?;
            format!("a{{{keys}{values}}}")
        }
    })
}

/// The type of elements of one array: that which one of them names, else what comes of the first, or of one that
/// is no whole number.
fn common(items: &[&Node]) -> Result<String, String> {
    let decides = |node: &&&Node| has_type(node);
    let real = |node: &&&Node| matches!(node, Node::Number(text) if is_real(text));
    let first = items.iter().find(decides).or_else(|| items.iter().find(real)).or(items.first());
    first.map_or_else(|| Err("the type of an empty list must be given".to_owned()), |node| infer(node))
}

fn has_type(node: &Node) -> bool {
    match node {
        Node::Typed(..) => true,
        Node::Array(items) | Node::Tuple(items) => items.iter().any(has_type),
        Node::Dict(pairs) => pairs.iter().any(|(key, value)| has_type(key) || has_type(value)),
        Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Bytes(_) | Node::Variant(_) => false,
    }
}

fn is_real(text: &str) -> bool {
    !text.contains("0x") && text.contains(['.', 'e', 'E'])
}

/// Makes a value of this type of what is written.
fn settle(node: Node, signature: &str) -> Result<Value, String> {
    let wrong = || format!("it is not of type {signature:?}");
    Ok(match (node, signature) {
        (Node::Typed(given, inner), _) if given == signature => settle(*inner, signature)?,
        (Node::Bool(value), "b") => Value::Bool(value),
        (Node::Number(text), _) => {
            number(&text, signature).ok_or_else(|| format!("{text} is no {signature:?}"))?
        }
        (Node::Text(text), "s") => Value::Str(text),
        (Node::Text(text), "o") if text.starts_with('/') => Value::Path(text),
        (Node::Text(text), "g") => Value::Signature(text),
        (Node::Bytes(bytes), "ay") => Value::bytes(&bytes),
        (Node::Variant(inner), "v") => {
            let signature = infer(&inner)?;
            Value::Variant(Box::new(settle(*inner, &signature)?))
        }
        (Node::Array(items), _) if signature.starts_with('a') => {
            let element = signature.get(1..).ok_or_else(wrong)?;
            let items = items.into_iter().map(|item| settle(item, element)).collect::<Result<_, _>>()?;
            Value::Array(element.to_owned(), items)
        }
        (Node::Dict(pairs), _) => {
            let element = signature.strip_prefix('a').ok_or_else(wrong)?;
            let inner =
                element.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).ok_or_else(wrong)?;
            let (key, value) = split(inner).ok_or_else(wrong)?;
            let entry = |(k, v)| Ok(Value::Entry(Box::new((settle(k, key)?, settle(v, value)?))));
            let pairs = pairs.into_iter().map(entry).collect::<Result<_, String>>()?;
            Value::Array(element.to_owned(), pairs)
        }
        (Node::Tuple(items), _) => {
            let inner = signature.strip_prefix('(').and_then(|inner| inner.strip_suffix(')'));
            let mut rest = inner.ok_or_else(wrong)?;
            let mut fields = Vec::with_capacity(items.len());
            for item in items {
                let (first, after) = split(rest).ok_or_else(wrong)?;
                fields.push(settle(item, first)?);
                rest = after;
            }
            if !rest.is_empty() {
                return Err(wrong());
            }
            Value::Struct(fields)
        }
        _ => return Err(wrong()),
    })
}

fn number(text: &str, signature: &str) -> Option<Value> {
    if signature == "d" {
        return text.parse().ok().map(Value::Double);
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, base) = match digits.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (digits, 8),
        None => (digits, 10),
    };
    let magnitude = i128::from(u64::from_str_radix(digits, base).ok()?);
    let value = if negative { -magnitude } else { magnitude };
    Some(match signature {
        "y" => Value::Byte(value.try_into().ok()?),
        "n" => Value::Int16(value.try_into().ok()?),
        "q" => Value::Uint16(value.try_into().ok()?),
        "i" => Value::Int32(value.try_into().ok()?),
        "u" => Value::Uint32(value.try_into().ok()?),
        "x" => Value::Int64(value.try_into().ok()?),
        "t" => Value::Uint64(value.try_into().ok()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Str(text.to_owned())
    }

    #[test]
    fn values() {
        let array = |element: &str, items: Vec<Value>| Value::Array(element.to_owned(), items);
        for (given, want) in [
            ("true", Value::Bool(true)),
            ("5", Value::Int32(5)),
            ("-5", Value::Int32(-5)),
            ("1.5", Value::Double(1.5)),
            ("1e3", Value::Double(1000.0)),
            ("uint64 123456789", Value::Uint64(123_456_789)),
            ("@t 0x10", Value::Uint64(16)),
            ("@t 010", Value::Uint64(8)),
            ("byte 0xfe", Value::Byte(254)),
            ("int16 -1", Value::Int16(-1)),
            ("double 2", Value::Double(2.0)),
            ("'inactive-or-failed'", text("inactive-or-failed")),
            (r#" "a'b\"\\\n\u00e9" "#, text("a'b\"\\\né")),
            ("b'ab'", Value::bytes(b"ab\0")),
            ("objectpath '/a'", Value::Path("/a".to_owned())),
            ("signature 'a(ss)'", Value::Signature("a(ss)".to_owned())),
            ("['a', 'b']", Value::strings(["a", "b"])),
            ("@as []", Value::strings([])),
            ("[1, uint64 2,]", array("t", vec![Value::Uint64(1), Value::Uint64(2)])),
            ("[1, 2.5]", array("d", vec![Value::Double(1.0), Value::Double(2.5)])),
            ("<uint32 5>", Value::Variant(Box::new(Value::Uint32(5)))),
            (
                "[('/dev/null', uint64 5)]",
                array("(st)", vec![Value::Struct(vec![text("/dev/null"), Value::Uint64(5)])]),
            ),
            (
                "@a(st) [('/dev/null', 5)]",
                array("(st)", vec![Value::Struct(vec![text("/dev/null"), Value::Uint64(5)])]),
            ),
            (
                "{'a': <1>}",
                array(
                    "{sv}",
                    vec![Value::Entry(Box::new((text("a"), Value::Variant(Box::new(Value::Int32(1))))))],
                ),
            ),
            ("(true, 'a')", Value::Struct(vec![Value::Bool(true), text("a")])),
        ] {
            assert_eq!(parse(given), Ok(want), "{given}");
        }
    }

    #[test]
    fn what_is_no_value() {
        for (given, why) in [
            ("", "unexpected \"\""),
            ("yes", "unexpected \"yes\""),
            ("5 6", "unexpected \"6\""),
            ("'a", "a text has no end"),
            ("[1, 'a']", "it is not of type \"i\""),
            ("['a', true]", "it is not of type \"s\""),
            ("[]", "the type of an empty list must be given"),
            ("[1", "expected \"]\" at \"\""),
            ("uint64 -1", "-1 is no \"t\""),
            ("byte 256", "256 is no \"y\""),
            ("3000000000", "3000000000 is no \"i\""),
            ("@z 5", "invalid type \"z\""),
            ("@t", "a type without a value"),
            ("@tt 5", "invalid type \"tt\""),
            ("uint32 uint64 5", "it is not of type \"u\""),
            ("{'a' 1}", "expected \":\" at \"1}\""),
            ("@(ss) ('a', 'b', 'c')", "it is not of type \"(ss)\""),
            ("@(ss) ('a',)", "it is not of type \"(ss)\""),
            ("'\\u12'", "no character: \\u12'"),
            ("'\\u0000'", "a text must not contain a zero"),
        ] {
            assert_eq!(parse(given), Err(why.to_owned()), "{given}");
        }
        assert_eq!(parse(&"<".repeat(100_000)), Err("too deep".to_owned()));
    }

    #[test]
    fn annotations() {
        let found = |key: &str, value: &str| annotation(key, value).map(|p| p.map(|p| (p.name, p.value)));
        assert_eq!(found("org.systemd.properties.X", "1"), None);
        let named = |name: &str, value| Some(Ok((name.to_owned(), value)));
        for (name, value, want) in [
            ("CollectMode", "'inactive'", named("CollectMode", text("inactive"))),
            ("TimeoutStopUSec", "uint64 7", named("TimeoutStopUSec", Value::Uint64(7))),
            ("TimeoutStopSec", "uint64 7", named("TimeoutStopUSec", Value::Uint64(7_000_000))),
            ("TimeoutStopSec", "1.5", named("TimeoutStopUSec", Value::Uint64(1_500_000))),
            ("TimeoutStopSec", "7", named("TimeoutStopUSec", Value::Uint64(7_000_000))),
            // These are no seconds.
            ("TimeoutStopUSec", "7", named("TimeoutStopUSec", Value::Int32(7))),
            ("Sec", "7", named("Sec", Value::Int32(7))),
            ("ab", "1", Some(Err("name incorrect: too short".to_owned()))),
            ("a_b", "1", Some(Err("name incorrect: contains non-alphabetic character".to_owned()))),
            ("Abc", "x", Some(Err("value \"x\" parse error: unexpected \"x\"".to_owned()))),
            ("WaitSec", "'7'", Some(Err("value \"'7'\" parse error: not a number of seconds".to_owned()))),
            ("WaitSec", "-7", Some(Err("value \"-7\" parse error: not a number of seconds".to_owned()))),
            (
                "WaitSec",
                "uint64 18446744073709551615",
                Some(Err(
                    "value \"uint64 18446744073709551615\" parse error: not a number of seconds".to_owned()
                )),
            ),
        ] {
            assert_eq!(found(&format!("{PREFIX}{name}"), value), want, "{name} {value}");
        }
    }
}
