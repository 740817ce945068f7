//! Messages of D-Bus: calls that are sent, replies and signals that come.
use super::value::{self, Reader, Value};

/// The interface of the bus itself and of systemd's manager.
pub(super) const SYSTEMD: &str = "org.freedesktop.systemd1";
const CALL: u8 = 1;
/// Types of messages that come.
const REPLY: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// The bytes of a message before its fields: byte order, type, flags, version, length, serial.
const FIXED: usize = 12;
/// Longer messages are none that systemd has for us; the specification allows 128 MiB.
const MAX: usize = 4 << 20;

/// Whom to ask for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub destination: &'a str,
    pub path: &'a str,
    pub interface: &'a str,
    pub member: &'a str,
    pub body: &'a [Value],
}

impl Call<'_> {
    /// The message.
    pub(super) fn encode(&self, serial: u32) -> Vec<u8> {
        let mut body = Vec::new();
        self.body.iter().for_each(|value| value::write(&mut body, value));
        let field = |code, value| Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))]);
        let mut fields = vec![
            field(1, Value::Path(self.path.to_owned())),
            field(2, Value::Str(self.interface.to_owned())),
            field(3, Value::Str(self.member.to_owned())),
            field(6, Value::Str(self.destination.to_owned())),
        ];
        if !self.body.is_empty() {
            fields.push(field(8, Value::Signature(value::signature(self.body))));
        }
        let mut out = vec![b'l', CALL, 0, 1];
        value::write(&mut out, &Value::Uint32(u32::try_from(body.len()).unwrap_or(u32::MAX)));
        value::write(&mut out, &Value::Uint32(serial));
        value::write(&mut out, &Value::Array("(yv)".to_owned(), fields));
        value::align(&mut out, 8);
        out.extend(body);
        out
    }
}

/// What has come.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    /// The answer to the call with this serial.
    Reply(u32, Vec<Value>),
    /// Its refusal: a name, and a sentence.
    Refusal(u32, String, String),
    /// A signal: its name and what it says.
    Signal(String, Vec<Value>),
    /// What is of no interest.
    Other,
}

/// Takes one message off the front of `data`. `Ok(None)`: not all of it is there yet.
pub(super) fn take(data: &mut Vec<u8>) -> Result<Option<Message>, &'static str> {
    const NONSENSE: &str = "the message makes no sense";
    let [order, kind, ..] = data[..] else { return Ok(None) };
    let big_endian = match order {
        b'l' => false,
        b'B' => true,
        _ => return Err(NONSENSE),
    };
    let Some(head) = data.get(..FIXED + 4) else { return Ok(None) };
    let lengths = Reader::new(head, big_endian).values("yyyyuuu").ok_or(NONSENSE)?;
    let [.., Value::Uint32(body), _, Value::Uint32(fields)] = lengths[..] else { return Err(NONSENSE) };
    let length = |n: u32| usize::try_from(n).ok().filter(|n| *n <= MAX).ok_or("the message is too long");
    let start = (FIXED + 4 + length(fields)?).next_multiple_of(8);
    let end = start + length(body)?;
    let (Some(head), Some(body)) = (data.get(..start), data.get(start..end)) else { return Ok(None) };
    let message = decode(kind, head, body, big_endian).ok_or(NONSENSE)?;
    data.drain(..end);
    Ok(Some(message))
}

fn decode(kind: u8, head: &[u8], body: &[u8], big_endian: bool) -> Option<Message> {
    let mut head = Reader::new(head, big_endian).values("yyyyuua(yv)")?;
    let Some(Value::Array(_, fields)) = head.pop() else { return None };
    let (mut member, mut error, mut reply, mut signature) = (String::new(), String::new(), 0, String::new());
    for field in fields {
        let Value::Struct(field) = field else { return None };
        let [Value::Byte(code), Value::Variant(value)] = &field[..] else { return None };
        match (code, &**value) {
            (3, Value::Str(text)) => member.clone_from(text),
            (4, Value::Str(text)) => error.clone_from(text),
            (5, Value::Uint32(serial)) => reply = *serial,
            (8, Value::Signature(text)) => signature.clone_from(text),
            _ => {}
        }
    }
    let values = || Reader::new(body, big_endian).values(&signature);
    Some(match kind {
        REPLY => Message::Reply(reply, values()?),
        ERROR => {
            let text = values()?.first().and_then(Value::text).map(str::to_owned);
            Message::Refusal(reply, error, text.unwrap_or_default())
        }
        // Others have types that are not known here, such as descriptors.
        SIGNAL if member == "JobRemoved" => Message::Signal(member, values()?),
        _ => Message::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(kind: u8, fields: &[(u8, Value)], body: &[Value]) -> Vec<u8> {
        let mut bytes = Vec::new();
        body.iter().for_each(|value| value::write(&mut bytes, value));
        let mut fields: Vec<Value> = fields
            .iter()
            .map(|(code, value)| {
                Value::Struct(vec![Value::Byte(*code), Value::Variant(Box::new(value.clone()))])
            })
            .collect();
        let signature = Value::Signature(value::signature(body));
        fields.push(Value::Struct(vec![Value::Byte(8), Value::Variant(Box::new(signature))]));
        let mut out = vec![b'l', kind, 1, 1];
        value::write(&mut out, &Value::Uint32(u32::try_from(bytes.len()).unwrap()));
        value::write(&mut out, &Value::Uint32(99));
        value::write(&mut out, &Value::Array("(yv)".to_owned(), fields));
        value::align(&mut out, 8);
        out.extend(bytes);
        out
    }

    #[test]
    fn a_call_is_as_the_specification_has_it() {
        let call = Call { destination: "d.e", path: "/p", interface: "i.f", member: "M", body: &[] };
        let bytes = call.encode(7);
        assert_eq!(&bytes[..16], [b'l', 1, 0, 1, 0, 0, 0, 0, 7, 0, 0, 0, 60, 0, 0, 0]);
        assert_eq!(&bytes[16..26], [1, 1, b'o', 0, 2, 0, 0, 0, b'/', b'p']);
        assert_eq!(bytes.len(), 80);
        let body = [Value::Str("x".to_owned()), Value::Bool(true)];
        let mut bytes = Call { body: &body, ..call }.encode(7);
        assert_eq!(bytes[4], 12);
        assert_eq!(take(&mut bytes), Ok(Some(Message::Other)));
    }

    #[test]
    fn messages_in_pieces_and_in_a_row() {
        let job = Value::Path("/j/1".to_owned());
        let texts =
            |texts: &[&str]| texts.iter().map(|text| Value::Str((*text).to_owned())).collect::<Vec<_>>();
        let removed = [vec![Value::Uint32(1), job.clone()], texts(&["a.scope", "done"])].concat();
        let mut stream = reply(REPLY, &[(5, Value::Uint32(3))], std::slice::from_ref(&job));
        stream.extend(reply(
            ERROR,
            &[(4, Value::Str("a.b".to_owned())), (5, Value::Uint32(4))],
            &texts(&["no"]),
        ));
        stream.extend(reply(SIGNAL, &[(3, Value::Str("JobRemoved".to_owned()))], &removed));
        stream.extend(reply(SIGNAL, &[(3, Value::Str("UnitNew".to_owned()))], &texts(&["x"])));
        let (mut have, mut found) = (Vec::new(), Vec::new());
        for byte in stream {
            have.push(byte);
            found.extend(take(&mut have).unwrap());
        }
        assert_eq!(
            found,
            [
                Message::Reply(3, vec![job]),
                Message::Refusal(4, "a.b".to_owned(), "no".to_owned()),
                Message::Signal("JobRemoved".to_owned(), removed),
                Message::Other,
            ]
        );
        assert!(have.is_empty());
    }

    #[test]
    fn nonsense_is_an_error_and_not_more() {
        for bad in [
            &b"HTTP/1.1 400 Bad Request"[..],
            b"l\x02\0\x01\xff\xff\xff\xff\0\0\0\0\0\0\0\0",
            b"l\x02\0\x01\0\0\0\0\0\0\0\0\x08\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert!(take(&mut bad.to_vec()).is_err(), "{bad:?}");
        }
    }
}
