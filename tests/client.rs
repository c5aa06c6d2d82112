//! The commands for people as a shell sees them: the program, its output and its exit code, against a gateway that says
//! what each test wants. *Not here*: the same against the real one (`tests/e2e`).

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// What the program asked for: method, path, body.
type Asked = (String, String, String);

/// Listens on a port of its own, and answers each connection's one request by the test's function.
struct Fake {
    address: SocketAddr,
    asked: Receiver<Asked>,
}

impl Fake {
    fn new(answer: impl Fn(&Asked, &mut TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (heard, asked) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                if let Some(request) = request(&stream) {
                    answer(&request, &mut stream);
                    let _ = heard.send(request);
                }
            }
        });
        Self { address, asked }
    }

    /// A gateway whose answers are known beforehand.
    fn answering(answers: &'static [(&'static str, &'static str)]) -> Self {
        Self::new(move |(method, path, _), stream| {
            let asked = format!("{method} {path}");
            match answers.iter().find(|(known, _)| *known == asked) {
                Some((_, body)) => json(stream, "200 OK", body),
                None => json(
                    stream,
                    "404 Not Found",
                    r#"{"error":{"code":"not_found","message":"no such push"}}"#,
                ),
            }
        })
    }

    /// Runs the program to its end: exit code, standard output, standard error.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        self.run_with(arguments, "")
    }

    fn run_with(&self, arguments: &[&str], input: &str) -> (i32, String, String) {
        let mut child = self.start(arguments);
        let mut stdin = child.stdin.take().expect("piped");
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        ended(child)
    }

    fn start(&self, arguments: &[&str]) -> Child {
        program().args(arguments).args(["--api", &self.address.to_string()]).spawn().expect("it starts")
    }

    fn next(&self) -> Asked {
        self.asked.recv_timeout(Duration::from_secs(10)).expect("a request")
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FANFARE_") {
            command.env_remove(name);
        }
    }
    command
}

fn ended(child: Child) -> (i32, String, String) {
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn request(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut length = 0;
    loop {
        let mut field = String::new();
        reader.read_line(&mut field).ok()?;
        let field = field.trim_end().to_ascii_lowercase();
        if field.is_empty() {
            break;
        }
        if let Some(value) = field.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((method, path, String::from_utf8(body).ok()?))
}

fn json(stream: &mut TcpStream, status: &str, body: &str) {
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
}

fn begin_events(stream: &mut TcpStream) {
    let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n");
}

fn event(stream: &mut TcpStream, name: &str, push: &str) -> bool {
    write!(stream, "event: {name}\ndata: {push}\n\n").is_ok()
}

fn push(state: &str, sent: u64, failed: &str) -> String {
    format!(
        r#"{{"id":"a-1","state":"{state}","to":{{"topic":"news"}},"lane":"normal","weight":1,"messages":1,"bytes":7,"source":"http","accepted_at":"2026-11-21T10:00:00.000Z","finished_at":null,"rate":500,"rate_now":500,"eta_s":1.5,"expires_in_s":null,"targeted":10,"sent":{sent},"failed":{failed},"remaining":0,"latency_ms":{{"first":0.5,"p50":1.5,"p99":2.5,"last":3.5}}}}"#
    )
}

const ACCEPTED: &str = r#"{"id":"a-1","accepted":2,"targeted":10,"duplicate":false}"#;

/// A gateway that takes every push, and whose stream ends with this account.
fn takes_and_ends(state: &'static str, sent: u64, failed: &'static str) -> Fake {
    Fake::new(move |(method, _, _), stream| {
        if method == "POST" {
            return json(stream, "202 Accepted", ACCEPTED);
        }
        begin_events(stream);
        event(stream, "progress", &push("running", 4, "{}"));
        event(stream, "end", &push(state, sent, failed));
    })
}

#[test]
fn a_push_asks_for_what_was_typed_and_says_its_name_first() {
    let fake = Fake::new(|_, stream| json(stream, "202 Accepted", ACCEPTED));
    let (code, out, err) = fake.run(&[
        "push",
        "--topic",
        "news",
        "--rate",
        "500",
        "--ramp",
        "10s",
        "--expires-in",
        "1m",
        "--id",
        "a-1",
        "--lane",
        "urgent",
        "--weight",
        "3",
        r#"{"v": 2}"#,
        "hello",
    ]);
    assert_eq!((code, out.as_str()), (0, "a-1  2 messages for 10 devices\n"), "{err}");
    assert_eq!(err, "fanfare: one message is not JSON and is sent as the JSON string \"hello\"\n");
    let (method, path, body) = fake.next();
    assert_eq!((method.as_str(), path.as_str()), ("POST", "/v1/push"));
    assert_eq!(
        body,
        r#"{"to":{"topic":"news"},"messages":[{"v": 2},"hello"],"rate":500,"ramp_s":10,"expires_in_s":60,"id":"a-1","lane":"urgent","weight":3}"#
    );
}

#[test]
fn a_dash_sends_the_lines_of_standard_input() {
    let fake = Fake::new(|_, stream| json(stream, "202 Accepted", ACCEPTED));
    let (code, _, err) = fake.run_with(&["push", "--all", "-"], "{\"id\":7}\n\nhello\n");
    assert_eq!(code, 0, "{err}");
    assert_eq!(fake.next().2, r#"{"to":{"all":true},"messages":[{"id":7},"hello"]}"#);
    let (code, _, err) = fake.run_with(&["push", "--all", "-"], "\n");
    assert_eq!((code, err.contains("no message")), (78, true), "{err}");
}

#[test]
fn a_watched_push_shows_its_progress_and_then_its_account() {
    let fake = takes_and_ends("done", 8, r#"{"closed":2,"slow":0}"#);
    let (code, out, err) = fake.run(&["push", "--topic", "news", "--watch", "1"]);
    assert_eq!(code, 0, "devices that had gone are no failure\n{err}");
    assert!(fake.next().2.ends_with(r#""track":true}"#));
    assert!(err.contains("fanfare: 4/10  500/s  ends in 1.5 s\n"), "{err}");
    for line in
        ["targeted  10\n", "sent      8\n", "failed    2\n", "          2 closed\n", "p99       2.50 ms\n"]
    {
        assert!(out.contains(line), "{line:?} in\n{out}");
    }
}

#[test]
fn whoever_was_there_and_has_not_got_it_makes_the_exit_code_one() {
    for (state, failed) in
        [("done", r#"{"slow":1}"#), ("expired", r#"{"expired":2}"#), ("cancelled", r#"{"cancelled":2}"#)]
    {
        let fake = takes_and_ends(state, 8, failed);
        assert_eq!(fake.run(&["pushes", "watch", "a-1"]).0, 1, "{state}");
    }
}

#[test]
fn a_watcher_that_wants_json_gets_each_event_as_it_is() {
    let fake = takes_and_ends("done", 10, "{}");
    let (code, out, _) = fake.run(&["pushes", "watch", "a-1", "--json"]);
    assert_eq!((code, out), (0, push("running", 4, "{}") + "\n" + &push("done", 10, "{}") + "\n"));
}

#[test]
fn a_slow_stream_is_waited_for_and_one_that_breaks_off_is_no_end() {
    let fake = Fake::new(|_, stream| {
        begin_events(stream);
        // Longer than one look of the reader, and in the midst of an event.
        let _ = stream.write_all(b"event: prog");
        std::thread::sleep(Duration::from_millis(700));
        let _ = write!(stream, "ress\ndata: {}\n\n", push("running", 4, "{}"));
        std::thread::sleep(Duration::from_millis(700));
    });
    let (code, out, err) = fake.run(&["pushes", "watch", "a-1"]);
    assert_eq!((code, out.as_str()), (69, ""), "{err}");
    assert!(err.contains("4/10") && err.contains("went away before the push was over"), "{err}");
}

#[test]
fn ctrl_c_ends_the_watching_and_says_how_to_cancel() {
    // After one event silence: the stop must not wait for the next one.
    let fake = Fake::new(|_, stream| {
        begin_events(stream);
        event(stream, "progress", &push("running", 4, "{}"));
        let _ = stream.read(&mut [0; 1]);
    });
    let mut child = fake.start(&["pushes", "watch", "a-1", "--json"]);
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    out.read_line(&mut line).expect("an event");
    let begun = Instant::now();
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.is_ok_and(|status| status.success()));
    let (code, _, err) = ended(child);
    assert_eq!(code, 130, "{err}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    let cancel = format!("to cancel it: fanfare pushes cancel a-1 --api {}", fake.address);
    assert!(err.contains("the push goes on") && err.contains(&cancel), "{err}");
    assert_eq!(fake.next().0, "GET", "nothing was cancelled");
}

#[test]
fn pushes_are_listed_shown_and_steered() {
    let list =
        r#"{"running":[{"id":"a-1","state":"paused","to":{"all":true},"targeted":10,"sent":4}],"recent":[]}"#;
    let fake = Fake::answering(&[
        (
            "GET /v1/pushes",
            r#"{"running":[{"id":"a-1","state":"paused","to":{"all":true},"targeted":10,"sent":4}],"recent":[]}"#,
        ),
        ("GET /v1/pushes/a-1", r#"{"id":"a-1","state":"done","targeted":10,"sent":10}"#),
        (
            "PATCH /v1/pushes/a-1",
            r#"{"id":"a-1","state":"running","rate":800,"targeted":10,"sent":4,"remaining":6}"#,
        ),
        (
            "DELETE /v1/pushes/a-1",
            r#"{"id":"a-1","state":"cancelled","targeted":10,"sent":4,"failed":{"cancelled":6}}"#,
        ),
    ]);
    let asked = |arguments: &[&str]| {
        let (code, out, err) = fake.run(arguments);
        assert_eq!(code, 0, "{err}");
        let (method, path, body) = fake.next();
        (format!("{method} {path} {body}"), out)
    };
    let (_, out) = asked(&["pushes"]);
    assert!(out.contains("\na-1  paused  everybody  [####........]  40 %"), "{out}");
    assert_eq!(asked(&["pushes", "--json"]).1, format!("{list}\n"));
    assert!(asked(&["pushes", "show", "a-1"]).1.contains("sent      10\n"));
    for (arguments, request) in [
        (
            &["pushes", "rate", "a-1", "800", "--ramp", "10s"][..],
            r#"PATCH /v1/pushes/a-1 {"ramp_s":10,"rate":800}"#,
        ),
        (&["pushes", "rate", "a-1", "none"], r#"PATCH /v1/pushes/a-1 {"rate":null}"#),
        (&["pushes", "pause", "a-1"], r#"PATCH /v1/pushes/a-1 {"state":"paused"}"#),
        (&["pushes", "resume", "a-1"], r#"PATCH /v1/pushes/a-1 {"state":"running"}"#),
        (&["pushes", "cancel", "a-1"], "DELETE /v1/pushes/a-1 "),
    ] {
        let (asked, out) = asked(arguments);
        assert_eq!(asked, request);
        assert!(out.starts_with("a-1  "), "{out}");
    }
    let (code, _, err) = fake.run(&["pushes", "show", "a-2"]);
    assert_eq!((code, err.as_str()), (78, "fanfare: no such push\n"));
}

#[test]
fn a_refusal_is_the_gateways_sentence_and_who_must_act_is_the_exit_code() {
    for (status, code) in [
        ("409 Conflict", 78),
        ("400 Bad Request", 78),
        ("429 Too Many Requests", 75),
        ("503 Service Unavailable", 75),
        ("500 Internal Server Error", 69),
    ] {
        let fake = Fake::new(move |_, stream| {
            json(stream, status, "{\"error\":{\"code\":\"x\",\"message\":\"not \\u001b[2J so\"}}");
        });
        let (found, out, err) = fake.run(&["push", "--all", "1"]);
        assert_eq!(
            (found, out.as_str(), err.as_str()),
            (code, "", "fanfare: not \u{fffd}[2J so\n"),
            "{status}"
        );
    }
}

#[test]
fn a_gateway_that_is_not_there_is_one_sentence() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").to_string();
    for arguments in [&["push", "--all", "1"][..], &["pushes"], &["top", "--once"], &["pushes", "watch", "x"]]
    {
        let child = program().args(arguments).args(["--api", &nobody]).spawn().expect("it starts");
        let (code, out, err) = ended(child);
        assert_eq!((code, out.as_str()), (69, ""), "{err}");
        assert_eq!(
            err,
            format!(
                "fanfare: no gateway listens at {nobody}: start it, or say with --api where its HTTP API is\n"
            )
        );
    }
}

#[test]
fn something_else_that_answers_is_told_from_a_gateway() {
    let web = Fake::new(|_, stream| json(stream, "404 Not Found", "<html>nginx</html>"));
    let (code, _, err) = web.run(&["pushes"]);
    assert!(code == 78 && err.contains("is not a gateway's API"), "{code} {err}");
    let ssh = Fake::new(|_, stream| drop(stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")));
    let (code, _, err) = ssh.run(&["pushes"]);
    assert!(code == 69 && err.contains("does not speak HTTP"), "{code} {err}");
    let (code, _, err) =
        ended(program().args(["pushes", "--api", "https://a:1"]).spawn().expect("it starts"));
    assert!(code == 78 && err.contains("speaks no TLS"), "{code} {err}");
}

#[test]
fn the_gateway_is_the_one_of_the_configuration() {
    let fake = Fake::answering(&[("GET /v1/pushes", r#"{"running":[],"recent":[]}"#)]);
    let child = program().arg("pushes").env("FANFARE_API_LISTEN", fake.address.to_string()).spawn();
    let (code, out, err) = ended(child.expect("it starts"));
    assert_eq!((code, out.as_str()), (0, "no push is running, and none is remembered\n"), "{err}");
}
