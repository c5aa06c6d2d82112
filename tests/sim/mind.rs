//! What clients do of themselves: read, speak, answer, leave.

use crate::client::{Act, Client, Pace};
use crate::ledger::ALL;
use crate::trail;
use crate::world::World;
use fanfare_core::model::FormatId;

/// A client's window once the world settles: whoever reads at all has caught up soon.
const OPEN_WINDOW: usize = 4 << 20;

impl World {
    /// One step of a client's life. Its socket is the shard's only after it was admitted.
    pub(crate) fn live(&mut self, id: usize) {
        if self.clients[id].spans[ALL].is_empty() {
            return;
        }
        self.read(id);
        self.answer(id);
        if !self.is_settling && !self.clients[id].has_said_last() && self.rng.percent(15) {
            if self.rng.percent(self.plan.ending_percent) {
                return self.depart(id);
            }
            self.speak(id);
        }
        self.send(id);
    }

    fn read(&mut self, id: usize) {
        let client = &mut self.clients[id];
        let bytes = match client.pace {
            Pace::Stalled => return,
            Pace::Slow(bytes) if !self.is_settling => bytes,
            Pace::StalledUntil(step) if !self.is_settling && self.step < step => return,
            _ => usize::MAX,
        };
        let plane = self.seats[client.shard].shard.plane();
        if let Some(socket) = plane.socket(client.fd)
            && self.is_settling
        {
            socket.capacity = socket.capacity.max(OPEN_WINDOW);
        }
        plane.client_reads(client.fd, bytes);
    }

    /// A polite client answers Close with Close, and FIN with FIN.
    fn answer(&mut self, id: usize) {
        let client = &self.clients[id];
        if !client.is_polite || client.pace == Pace::Stalled {
            return;
        }
        if let Some(code) = client.close
            && !client.has_said_close
        {
            self.say(id, Act::Close(code));
        }
        if std::mem::take(&mut self.clients[id].pings) > 0 && !self.clients[id].has_said_last() {
            self.say(id, Act::Pong);
        }
        let client = &self.clients[id];
        let plane = self.seats[client.shard].shard.plane();
        if let Some(socket) = plane.socket(client.fd)
            && socket.is_finished
            && socket.held == 0
            && !socket.is_eof
        {
            self.clients[id].out.clear();
            trail::note(|| format!("{id} ends its stream"));
            plane.client_ends(self.clients[id].fd);
        }
    }

    pub(crate) fn speak(&mut self, id: usize) {
        let client = &self.clients[id];
        let is_go_push = client.format != FormatId::RAW;
        let topic = self.rng.between(1, self.plan.topics);
        let act = match self.rng.below(100) {
            n if n < self.plan.topic_percent && is_go_push => {
                if self.rng.percent(60) {
                    Act::Join(topic)
                } else {
                    Act::Leave(topic)
                }
            }
            n if n >= 100 - self.plan.ending_percent => match self.rng.below(6) {
                0 => Act::Bad(1002),
                1 => Act::Bad(1007),
                2 => Act::Bad(1009),
                3 if is_go_push => Act::Bad(1008),
                4 => Act::Close(None),
                _ => Act::Close(Some(*self.rng.pick(&[1000, 1001, 3000, 4999]))),
            },
            n if n % 3 == 0 && is_go_push => Act::Ping,
            n if n % 3 == 1 => Act::WebSocketPing(self.rng.between(4, 125), 0),
            _ => Act::Noise,
        };
        let burst = match act {
            Act::Noise if self.rng.percent(2) => 150,
            // A flood: far more than a turn takes of one connection.
            Act::Ping | Act::WebSocketPing(..) | Act::Join(_)
                if self.rng.percent(self.plan.flood_percent) =>
            {
                self.rng.between(300, 3_000)
            }
            _ => 1,
        };
        for number in 0..burst {
            self.say(id, if number % 2 == 0 { act } else { act.opposite() });
        }
    }

    fn say(&mut self, id: usize, mut act: Act) {
        if let Act::WebSocketPing(_, number) = &mut act {
            self.clients[id].pings_sent += 1;
            *number = self.clients[id].pings_sent;
        }
        let room = match act {
            Act::Join(to) | Act::Leave(to) => serde_json::to_string(self.ledger.name(to)).expect("a string"),
            _ => String::new(),
        };
        trail::note(|| format!("{id} says {act:?}"));
        let bytes = Client::bytes_of(act, &room, &mut self.rng);
        self.clients[id].say(act, &bytes);
    }

    /// Some of what the client has said reaches the shard's kernel, cut anywhere.
    fn send(&mut self, id: usize) {
        let client = &mut self.clients[id];
        if client.out.is_empty() || (!self.is_settling && self.rng.percent(30)) {
            return;
        }
        let waiting = client.out.len();
        let count =
            if self.is_settling || self.rng.percent(30) { waiting } else { self.rng.scale(1, waiting) };
        let bytes: Vec<u8> = client.out.drain(..count).collect();
        let plane = self.seats[client.shard].shard.plane();
        if plane.socket(client.fd).is_some_and(|socket| !socket.is_eof && !socket.is_reset) {
            plane.client_sends(client.fd, &bytes);
        }
    }

    /// The end of the stream without a word, or a reset.
    fn depart(&mut self, id: usize) {
        let resets = self.rng.percent(50);
        trail::note(|| format!("{id} departs, reset: {resets}"));
        let client = &mut self.clients[id];
        client.out.clear();
        let plane = self.seats[client.shard].shard.plane();
        if resets { plane.client_resets(client.fd) } else { plane.client_ends(client.fd) }
    }
}
