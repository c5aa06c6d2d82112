//! What was published: the truth that every client's stream is held against.
//!
//! A payload names its address and its place there, so that any frame says by itself what it claims to carry. A frame
//! is parsed once and remembered by its bytes: thousands of clients get the same one. *Not here*: who may get what.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use bytes::Bytes;
use fanfare_core::model::{Address, FormatId, Message, PayloadKind, Topic};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::rng::Rng;

/// Index of an address: 0 is everybody, the others are topics. The same again for what is urgent.
pub(crate) type To = usize;
pub(crate) const ALL: To = 0;

/// One message that a frame carries: address and place in its log.
pub(crate) type Item = (To, u64);

pub(crate) struct Ledger {
    pub(crate) addresses: Vec<Address>,
    by_address: HashMap<Address, To>,
    /// Payloads in publish order; those of urgent pushes have logs of their own, behind the others.
    logs: Vec<Vec<Bytes>>,
    read: HashMap<(FormatId, u64), Vec<Item>>,
}

#[derive(Deserialize)]
struct Push<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data<'a> {
    #[serde(borrow)]
    room: Option<Cow<'a, str>>,
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

impl Ledger {
    pub(crate) fn new(topics: usize) -> Self {
        let name = |n: usize| match n {
            2 => "fleet \"7\" \\ é".to_owned(),
            3 => "x".repeat(200),
            n => format!("topic-{n}"),
        };
        let topic = |n| Address::Topic(Topic::new(&name(n)).expect("a topic's name"));
        let addresses: Vec<_> = std::iter::once(Address::All).chain((1..=topics).map(topic)).collect();
        let by_address = addresses.iter().cloned().enumerate().map(|(to, address)| (address, to)).collect();
        Self { logs: vec![Vec::new(); 2 * addresses.len()], by_address, addresses, read: HashMap::new() }
    }

    pub(crate) fn index(&self, address: &Address) -> To {
        self.by_address[address]
    }

    /// The log of an address for what is urgent.
    pub(crate) fn urgent(&self, to: To) -> To {
        to + self.addresses.len()
    }

    /// The address of a log.
    pub(crate) fn address_of(&self, log: To) -> To {
        log % self.addresses.len()
    }

    pub(crate) fn name(&self, to: To) -> &str {
        match &self.addresses[self.address_of(to)] {
            Address::All => panic!("everybody has no name"),
            Address::Topic(topic) => topic.as_str(),
        }
    }

    pub(crate) fn published(&self, to: To) -> u64 {
        self.logs[to].len() as u64
    }

    pub(crate) fn payload(&self, (to, at): Item) -> &Bytes {
        &self.logs[to][at as usize]
    }

    /// A new message of about that many bytes: JSON, other text, or no text at all.
    pub(crate) fn publish(&mut self, to: To, bytes: usize, rng: &mut Rng) -> Message {
        let at = self.logs[to].len();
        let (payload, kind) = match rng.below(6) {
            0 => (format!("{to}:{at}:{}", "\"q".repeat(bytes / 2)).into_bytes(), PayloadKind::Unknown),
            1 => {
                let mut payload = format!("{to}:{at}:").into_bytes();
                payload.resize(payload.len() + bytes, 0xFF);
                (payload, PayloadKind::Unknown)
            }
            2 => (format!("[{to},{at}]").into_bytes(), PayloadKind::Unknown),
            _ => (format!("[{to},{at},\"{}\"]", "x".repeat(bytes)).into_bytes(), PayloadKind::Json),
        };
        let payload = Bytes::from(payload);
        self.logs[to].push(payload.clone());
        Message { payload, kind }
    }

    /// The messages in a data frame; panics at whatever was not published, or not like that.
    pub(crate) fn read(&mut self, format: FormatId, payload: &[u8]) -> &[Item] {
        let mut hasher = DefaultHasher::new();
        payload.hash(&mut hasher);
        let key = (format, hasher.finish());
        if !self.read.contains_key(&key) {
            let items =
                if format == FormatId::RAW { vec![self.raw(payload)] } else { self.push(format, payload) };
            self.read.insert(key, items);
        }
        &self.read[&key]
    }

    fn raw(&self, payload: &[u8]) -> Item {
        let item = claim(payload);
        assert_eq!(self.payload(item), payload, "a raw frame is not the payload that it names");
        item
    }

    fn push(&self, format: FormatId, payload: &[u8]) -> Vec<Item> {
        let push: Push<'_> = serde_json::from_slice(payload).expect("a PUSH is JSON of its shape");
        assert_eq!(push.r#type, "PUSH");
        let items: Vec<_> = push.data.items.iter().map(|item| self.json(item)).collect();
        let &(to, first) = items.first().expect("a PUSH carries something");
        for (item, expected) in items.iter().zip(first..) {
            assert_eq!(*item, (to, expected), "a PUSH carries messages of one address without a gap");
        }
        let room = (format == FormatId::GO_PUSH_V2 && self.address_of(to) != ALL).then(|| self.name(to));
        assert_eq!(push.data.room.as_deref(), room, "version 2 names the room, version 1 does not");
        items
    }

    fn json(&self, item: &RawValue) -> Item {
        let text = item.get();
        if !text.starts_with('"') {
            return self.raw(text.as_bytes());
        }
        let string: String = serde_json::from_str(text).expect("it is a string");
        let item = claim(string.as_bytes());
        assert_eq!(
            string,
            String::from_utf8_lossy(self.payload(item)),
            "a string is not the payload that it names"
        );
        item
    }
}

/// The address and place that a payload names: its first two numbers.
fn claim(payload: &[u8]) -> Item {
    let mut numbers = payload
        .split(|byte| !byte.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .map(|digits| std::str::from_utf8(digits).expect("digits").parse().expect("a number"));
    let mut number = || numbers.next().expect("a payload begins with two numbers");
    let to = number() as To;
    (to, number())
}
