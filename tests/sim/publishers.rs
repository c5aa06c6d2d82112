//! Who publishes in a world of the ingest core: the API of this gateway, other gateways, and those who mistype a channel.
//!
//! *Not here*: what became of it (`verdicts`).

use std::sync::Arc;

use bytes::Bytes;
use fanfare::downlink::Census;
use fanfare::ingest::answers::Ticket;
use fanfare::ingest::publisher::{NewPush, Position, Request};
use fanfare_core::limits::{MESSAGE_BYTES_MAX, PUSHES_PER_TOPIC_MAX};
use fanfare_core::model::{Address, Message, Moment, PayloadKind, Topic};
use fanfare_core::push::id::PushId;
use fanfare_core::push::request;

use crate::intake::{Asked, Intake};
use crate::trail;

/// Bytes of a publish: what the body of a request of the API holds by default.
const PUBLISH_BYTES: usize = 8 << 20;

/// The number that a payload begins with, if it is long enough to have one.
pub(crate) fn number(payload: &Bytes) -> Option<u64> {
    let payload = payload.strip_prefix(b"\"").unwrap_or(payload);
    std::str::from_utf8(payload.get(..10)?).ok()?.parse().ok()
}

impl Intake {
    /// A payload of one of the sizes that matter, told apart from all others where it is long enough.
    pub(crate) fn payload(&mut self, bytes: usize) -> Bytes {
        self.made += 1;
        let mut payload = format!("{:010}", self.made).into_bytes();
        payload.resize(bytes, b'.');
        payload.into()
    }

    pub(crate) fn publish(&mut self) {
        let bytes = *self.rng.pick(&[0, 1, 20, 20, 2_000, 100_000, MESSAGE_BYTES_MAX]);
        let most = (PUBLISH_BYTES / (bytes + 1)).clamp(1, 1_000);
        let count = *self.rng.pick(&[1, 1, 1, 3, most]);
        let count = count.min(most);
        let wide = if bytes * count > 200_000 { 3 } else { self.addresses.len() - 1 };
        let topics = if self.rng.percent(70) { 1 } else { self.rng.between(1, wide) };
        let mut to: Vec<usize> = match self.rng.below(5) {
            0 => vec![0],
            _ => (0..topics).map(|_| self.rng.between(1, self.addresses.len() - 1)).collect(),
        };
        to.sort_unstable();
        to.dedup();
        match self.rng.below(10) {
            0 if self.pushes.len() < PUSHES_PER_TOPIC_MAX - 1 => self.push(to, bytes.min(100_000)),
            1 | 2 if self.redis.is_some() => self.others_publish(to[0], bytes),
            3 => self.inspect(to[0]),
            _ => {
                for _ in 0..(*self.rng.pick(&[1, 1, 5, 200])).min(2_000 / count) {
                    self.publish_to(to.clone(), bytes, count);
                }
            }
        }
    }

    pub(crate) fn publish_to(&mut self, to: Vec<usize>, bytes: usize, count: usize) {
        let payloads: Vec<Bytes> = (0..count).map(|_| self.payload(bytes)).collect();
        let messages =
            payloads.iter().map(|p| Message { payload: p.clone(), kind: PayloadKind::Unknown }).collect();
        let addresses = to.iter().map(|&to| self.addresses[to].clone()).collect();
        let ticket = Some(Ticket(self.tickets + 1));
        let request = Request::Publish { ticket, addresses, messages };
        trail::note(|| format!("publish {count} of {bytes} bytes to {} addresses", to.len()));
        self.request(request, Asked { payloads, to, push: None, taken_at: None });
    }

    pub(crate) fn push(&mut self, to: Vec<usize>, bytes: usize) {
        let count = self.rng.scale(1, 1_000).min(PUBLISH_BYTES / 8 / (bytes + 1)).max(1);
        let message = |world: &mut Self| {
            world.made += 1;
            Bytes::from(format!("\"{:010}{}\"", world.made, ".".repeat(bytes)))
        };
        let payloads: Vec<Bytes> = (0..count).map(|_| message(self)).collect();
        let is_again = !self.pushes.is_empty() && self.rng.percent(20);
        let name = if is_again {
            self.pushes.keys().min().cloned().expect("there is one")
        } else {
            format!("p{}", self.tickets)
        };
        let texts: Vec<&str> = payloads.iter().map(|p| std::str::from_utf8(p).expect("text")).collect();
        let names: Vec<String> = to
            .iter()
            .map(|&to| match &self.addresses[to] {
                Address::All => String::new(),
                Address::Topic(topic) => format!("{:?}", topic.as_str()),
            })
            .collect();
        let target =
            if to == [0] { r#""all":true"#.into() } else { format!(r#""topics":[{}]"#, names.join(",")) };
        let json = format!(r#"{{"to":{{{target}}},"messages":[{}],"id":"{name}"}}"#, texts.join(","));
        let request = request::parse(&Bytes::from(json)).expect("a push");
        let id = PushId::new(&name).expect("an id");
        let accepted = Moment { us: self.now, unix_ms: 0 };
        trail::note(|| format!("push {name} of {count} of {bytes} bytes to {} addresses", to.len()));
        let new = NewPush { id, request, accepted, ticket: Ticket(self.tickets + 1) };
        let asked = Asked { payloads, to, push: Some(name), taken_at: None };
        self.request(Request::Push(Box::new(new)), asked);
    }

    /// Hands a request over, or is refused, which has no verdict. Without Redis its order is that of its handing over.
    pub(crate) fn request(&mut self, request: Request, asked: Asked) {
        let bytes = request.bytes() as usize;
        if self.publisher.request(request).is_err() {
            return;
        }
        self.tickets += 1;
        self.largest = self.largest.max(bytes);
        if self.redis.is_none() {
            let is_new = asked.push.as_ref().is_none_or(|name| !self.pushes.contains_key(name));
            if let (true, Some(name)) = (is_new, &asked.push) {
                self.pushes.insert(name.clone(), self.made);
            }
            for &to in asked.to.iter().filter(|_| is_new) {
                asked.payloads.iter().for_each(|payload| self.enter(to, payload, 0));
            }
        }
        self.asked.insert(self.tickets, asked);
    }

    /// The ingest core is given a message for an address; `came`: its number in the inbox.
    pub(crate) fn enter(&mut self, to: usize, payload: &Bytes, came: u64) {
        if let Some(number) = number(payload) {
            self.places.insert((to, number), (self.logs[to].len(), came));
        }
        self.logs[to].push(payload.clone());
    }

    pub(crate) fn inspect(&mut self, to: usize) {
        let census = Arc::new(Census::new(self.addresses[to].clone(), self.shards.len()));
        let position = Arc::new(Position::default());
        // Refused or not: nobody waits for it here.
        let _ = self.publisher.request(Request::Inspect { position, census });
    }

    /// Other gateways and publishers; some of them mistype the channel.
    pub(crate) fn others_publish(&mut self, to: usize, bytes: usize) {
        let payload = self.payload(bytes);
        let (wrong, count) = (self.rng.percent(20), *self.rng.pick(&[1, 10, 1_000]));
        // A crowd of the smallest: their places in the inbox outweigh them.
        let count = if bytes <= 1 && count == 1_000 { 20_000 } else { count };
        let count = count.min((PUBLISH_BYTES * 2 / (bytes + 1)).max(1));
        let name = match &self.addresses[to] {
            _ if wrong => {
                (*self.rng.pick(&["topics:x", "uid:7", "topic:", "ALL", "probe", "push"])).to_owned()
            }
            Address::All => "all".to_owned(),
            Address::Topic(topic) => format!("topic:{}", topic.as_str()),
        };
        trail::note(|| format!("others publish {count} of {bytes} bytes on {name}"));
        let Some(redis) = &mut self.redis else { return };
        for _ in 0..count {
            redis.publish(name.as_bytes(), payload.clone());
        }
    }

    /// A message is in the inbox: what the ingest core will make of it.
    pub(crate) fn came(&mut self, channel: &Bytes, payload: &Bytes, came: u64) {
        let name = std::str::from_utf8(channel).expect("the world's own");
        self.largest = self.largest.max(payload.len());
        if name == "push" {
            let Ok(request) = request::parse(payload) else { return };
            let Some(id) = request.id else { return };
            if self.pushes.insert(id.as_str().to_owned(), 0).is_some() {
                return;
            }
            let to: Vec<usize> = request.to.iter().map(|to| self.by_address[to]).collect();
            for to in to {
                request.messages.iter().for_each(|message| self.enter(to, &message.payload, came));
            }
            return;
        }
        let address = match name.split_once(':') {
            None if name == "all" => Address::All,
            Some(("topic", topic)) => match Topic::new(topic) {
                Ok(topic) => Address::Topic(topic),
                Err(_) => return,
            },
            _ => return,
        };
        self.enter(self.by_address[&address], payload, came);
    }
}
