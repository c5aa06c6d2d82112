//! A redis-server of the test's own, and a plain client to it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use fanfare::redis::resp;

/// A running server; killed when dropped.
pub(crate) struct RedisServer {
    /// Where it listens, on 127.0.0.1.
    pub(crate) port: u16,
    child: Child,
    directory: tempfile::TempDir,
    arguments: Vec<String>,
}

/// A port that nobody listened on a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl RedisServer {
    /// Starts one and waits until it takes connections.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let port = free_port();
        let mut arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        arguments.extend(["--port".into(), port.to_string(), "--unixsocket".into(), "redis.sock".into()]);
        Self::spawn(port, tempfile::tempdir().unwrap(), arguments)
    }

    /// Starts one that speaks only TLS, with a certificate for localhost; returns its authority's certificate.
    pub(crate) fn start_tls() -> (Self, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let openssl = |arguments: &str| {
            let output = Command::new("openssl")
                .current_dir(directory.path())
                .args(arguments.split(' '))
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -days 1 -subj /CN=authority"));
        openssl(&format!("req {key} -keyout server.key -out server.csr -subj /CN=server"));
        std::fs::write(directory.path().join("names"), "subjectAltName=DNS:localhost").unwrap();
        openssl("x509 -req -in server.csr -CA ca.pem -CAkey ca.key -out server.pem -days 1 -extfile names");
        let arguments = format!(
            "--port 0 --tls-port {port} --tls-cert-file server.pem --tls-key-file server.key \
             --tls-ca-cert-file ca.pem --tls-auth-clients no"
        );
        let authority = directory.path().join("ca.pem");
        (Self::spawn(port, directory, arguments.split_whitespace().map(Into::into).collect()), authority)
    }

    fn spawn(port: u16, directory: tempfile::TempDir, arguments: Vec<String>) -> Self {
        let child = Command::new("redis-server")
            .current_dir(directory.path())
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(&arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let server = Self { port, child, directory, arguments };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        server
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, on the same port.
    pub(crate) fn restart(&mut self) {
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap());
        *self = Self::spawn(self.port, directory, std::mem::take(&mut self.arguments));
    }

    /// Sends it a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Its Unix socket.
    pub(crate) fn unix_socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    /// A blocking connection to it.
    pub(crate) fn client(&self) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        Client {
            replies: BufReader::new(stream.try_clone().unwrap()),
            stream,
            queued: BytesMut::new(),
            count: 0,
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client whose replies are one line each.
pub(crate) struct Client {
    stream: TcpStream,
    replies: BufReader<TcpStream>,
    queued: BytesMut,
    count: usize,
}

impl Client {
    /// Keeps a command for [`Self::flush`].
    pub(crate) fn queue(&mut self, words: &[&[u8]]) {
        resp::command(&mut self.queued, words);
        self.count += 1;
    }

    /// Sends what was queued and waits until all of it is answered.
    pub(crate) fn flush(&mut self) {
        self.stream.write_all(&self.queued).unwrap();
        self.queued.clear();
        for _ in 0..std::mem::take(&mut self.count) {
            self.line();
        }
    }

    /// Sends one command; its answer.
    pub(crate) fn say(&mut self, words: &[&[u8]]) -> String {
        self.queue(words);
        self.stream.write_all(&self.queued).unwrap();
        (self.count, self.queued) = (0, BytesMut::new());
        self.line()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.replies.read_line(&mut line).unwrap();
        line.trim_end().into()
    }
}
