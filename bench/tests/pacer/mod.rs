//! A server of paced pushes of plain threads, as small as it can be, that can be told to make one mistake. It serves one
//! push after the other.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What the server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// Nothing.
    None,
    /// Serves twice as many a second as it should.
    Rushes,
    /// Answers a change and goes on as before.
    IgnoresChanges,
    /// Says that it takes twice as long as it does.
    WrongEta,
    /// Counts a device as sent that it leaves out.
    Forgets,
    /// Sends to one device again.
    Repeats,
    /// Has one device more remaining than there are.
    Unbalanced,
}

#[derive(Default)]
struct Job {
    id: String,
    to: Vec<Option<String>>,
    messages: Vec<Value>,
    rate: Option<f64>,
    begun: Option<Instant>,
    expires: Option<Instant>,
    state: &'static str,
    is_paused: bool,
    is_cancelled: bool,
    targeted: u64,
    sent: u64,
    failed: (u64, u64),
    latencies: Vec<f64>,
}

#[derive(Default)]
struct World {
    devices: Vec<(HashSet<String>, TcpStream)>,
    jobs: Vec<Job>,
}

#[derive(Clone)]
pub(crate) struct Pacer {
    pub(crate) url: String,
    pub(crate) api: String,
    mistake: Mistake,
    world: Arc<Mutex<World>>,
}

impl Pacer {
    pub(crate) fn start(mistake: Mistake) -> Self {
        let (devices, api) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let server = Self {
            url: format!("ws://{}/connect", devices.local_addr().unwrap()),
            api: format!("http://{}", api.local_addr().unwrap()),
            mistake,
            world: Arc::default(),
        };
        let (of_devices, of_api, of_jobs) = (server.clone(), server.clone(), server.clone());
        thread::spawn(move || devices.incoming().for_each(|socket| of_devices.admit(socket.unwrap())));
        thread::spawn(move || {
            for socket in api.incoming() {
                let server = of_api.clone();
                thread::spawn(move || server.answer(&socket.unwrap()));
            }
        });
        thread::spawn(move || of_jobs.work());
        server
    }

    /// Copies sent so far, of all pushes.
    pub(crate) fn sent(&self) -> u64 {
        self.world.lock().unwrap().jobs.iter().map(|job| job.sent).sum()
    }

    /// How each push ended, or "running".
    pub(crate) fn states(&self) -> Vec<&'static str> {
        self.world.lock().unwrap().jobs.iter().map(|job| job.state).collect()
    }

    fn admit(&self, mut socket: TcpStream) {
        let mut line = String::new();
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        reader.read_line(&mut line).unwrap();
        let query = line.split(' ').nth(1).unwrap().split_once('?').unwrap().1.to_owned();
        let rooms = query.split('&').filter_map(|pair| pair.strip_prefix("join=")).map(str::to_owned);
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        socket.write_all(answer).unwrap();
        self.world.lock().unwrap().devices.push((rooms.collect(), socket));
    }

    /// One connection of the API.
    fn answer(&self, mut socket: &TcpStream) {
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        loop {
            let (mut request, mut line, mut length) = (String::new(), String::new(), 0);
            if reader.read_line(&mut request).unwrap_or(0) == 0 {
                return;
            }
            while line != "\r\n" {
                line.clear();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.strip_prefix("Content-Length: ") {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let (status, answer) =
                self.route(&request, &serde_json::from_slice(&body).unwrap_or(Value::Null));
            let answer = answer.to_string();
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", answer.len());
            socket.write_all((head + &answer).as_bytes()).unwrap();
        }
    }

    fn route(&self, request: &str, body: &Value) -> (u16, Value) {
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let mut world = self.world.lock().unwrap();
        if path == "/readyz" {
            return (200, Value::Null);
        }
        if (method, path) == ("POST", "/v1/push") {
            let job = Job::asked(body, &world);
            let id = job.id.clone();
            world.jobs.push(job);
            return (202, json!({"id": id}));
        }
        if path == "/v1/pushes" {
            let (over, running): (Vec<_>, Vec<_>) = world.jobs.iter().partition(|job| job.is_over());
            let view = |jobs: Vec<&Job>| jobs.iter().map(|job| job.view(self.mistake)).collect::<Vec<_>>();
            return (200, json!({"running": view(running), "recent": view(over)}));
        }
        let id = path.strip_prefix("/v1/pushes/").unwrap_or_default();
        let Some(job) = world.jobs.iter_mut().find(|job| job.id == id) else { return (404, Value::Null) };
        if method != "GET" && job.is_over() {
            return (409, Value::Null);
        }
        if let Some(rate) = body.get("rate").filter(|_| self.mistake != Mistake::IgnoresChanges) {
            job.rate = rate.as_f64();
        }
        if let Some(state) = body.get("state") {
            job.is_paused = state == "paused";
        }
        job.is_cancelled |= method == "DELETE";
        (200, job.view(self.mistake))
    }

    /// Serves one push after the other, one device after the other.
    fn work(&self) {
        for at in 0.. {
            while self.world.lock().unwrap().jobs.len() <= at {
                thread::sleep(Duration::from_millis(1));
            }
            let targets = {
                let world = self.world.lock().unwrap();
                world.targets(&world.jobs[at])
            };
            let mut due = Instant::now();
            let mut next = 0;
            while next < targets.len() {
                let mut world = self.world.lock().unwrap();
                let job = &mut world.jobs[at];
                let left = (targets.len() - next) as u64;
                if job.is_cancelled || job.expires.is_some_and(|at| Instant::now() >= at) {
                    *(if job.is_cancelled { &mut job.failed.0 } else { &mut job.failed.1 }) += left;
                    job.state = if job.is_cancelled { "cancelled" } else { "expired" };
                    break;
                }
                if job.is_paused {
                    due = Instant::now();
                } else if Instant::now() >= due {
                    let each = job.rate.map_or(0.0, |rate| 1.0 / rate);
                    due += Duration::from_secs_f64(
                        each / if self.mistake == Mistake::Rushes { 2.0 } else { 1.0 },
                    );
                    self.serve(&mut world, at, next, &targets[next]);
                    next += 1;
                }
                drop(world);
                thread::sleep(Duration::from_micros(200));
            }
            let mut world = self.world.lock().unwrap();
            let job = &mut world.jobs[at];
            if job.state == "running" {
                job.state = "done";
            }
        }
    }

    fn serve(&self, world: &mut World, at: usize, next: usize, (device, room): &(usize, Option<String>)) {
        let job = &mut world.jobs[at];
        job.sent += 1;
        job.latencies.push(job.begun.unwrap().elapsed().as_secs_f64() * 1000.0);
        let items: Vec<String> = job.messages.iter().map(Value::to_string).collect();
        let mut data = format!("\"items\":[{}]", items.join(","));
        if let Some(room) = room {
            let _ = write!(data, ",\"room\":\"{room}\"");
        }
        let text = format!("{{\"type\":\"PUSH\",\"data\":{{{data}}}}}");
        let mut frame = vec![0x81, 126];
        frame.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(text.as_bytes());
        let times = match self.mistake {
            Mistake::Forgets if next == 5 => 0,
            Mistake::Repeats if next == 5 => 2,
            _ => 1,
        };
        for _ in 0..times {
            let _ = world.devices[*device].1.write_all(&frame);
        }
    }
}

impl World {
    /// Device and room of every copy.
    fn targets(&self, job: &Job) -> Vec<(usize, Option<String>)> {
        let rooms = job.to.iter().flat_map(|room| {
            let members = self.devices.iter().enumerate();
            let members = members
                .filter(move |(_, (joined, _))| room.as_ref().is_none_or(|room| joined.contains(room)));
            members.map(move |(device, _)| (device, room.clone()))
        });
        rooms.collect()
    }
}

impl Job {
    fn asked(body: &Value, world: &World) -> Self {
        let to = &body["to"];
        let name = |name: &Value| Some(name.as_str().unwrap().to_owned());
        let to = match (to.get("topic"), to.get("topics")) {
            (Some(topic), _) => vec![name(topic)],
            (_, Some(topics)) => topics.as_array().unwrap().iter().map(name).collect(),
            _ => vec![None],
        };
        let expires = body["expires_in_s"].as_f64().map(|s| Instant::now() + Duration::from_secs_f64(s));
        let mut job = Self {
            id: body["id"].as_str().map_or_else(|| format!("job{}", world.jobs.len()), str::to_owned),
            to,
            messages: body["messages"].as_array().unwrap().clone(),
            rate: body["rate"].as_f64(),
            begun: Some(Instant::now()),
            expires,
            state: "running",
            ..Self::default()
        };
        job.targeted = world.targets(&job).len() as u64;
        job
    }

    fn is_over(&self) -> bool {
        self.state != "running"
    }

    fn view(&self, mistake: Mistake) -> Value {
        let remaining = self.targeted - self.sent - self.failed.0 - self.failed.1;
        let eta =
            self.rate.filter(|_| !self.is_paused && !self.is_over()).map(|rate| remaining as f64 / rate);
        let factor = if mistake == Mistake::WrongEta { 2.0 } else { 1.0 };
        let of = |hundredth: usize| {
            let rank = (self.latencies.len() * hundredth).div_ceil(100).max(1);
            self.latencies.get(rank - 1).copied()
        };
        json!({
            "id": self.id, "state": self.state, "rate": self.rate, "rate_now": self.rate,
            "eta_s": eta.map(|eta| eta * factor), "targeted": self.targeted, "sent": self.sent,
            "failed": {"cancelled": self.failed.0, "expired": self.failed.1},
            "remaining": remaining + u64::from(mistake == Mistake::Unbalanced),
            "latency_ms": of(0).map(|first| json!({"first": first, "p50": of(50), "p99": of(99), "last": of(100)})),
        })
    }
}
