//! Who is compared: from the command line to the run of each server.

use super::args::{CompareArgs, HttpPublisher, PeerKind};
use crate::args::{LoadArgs, ServerArgs};
use crate::fanout::FanoutArgs;
use crate::http::Url;
use crate::server::{FormatKind, PublisherKind, ServerKind};

/// One server, ready to be measured.
#[derive(Clone, Debug)]
pub(super) struct Contestant {
    /// In the table.
    pub(super) name: String,
    /// Which of the contestants that have its framing the others are held against: fanfare.
    pub(super) is_baseline: bool,
    /// What every run of it has in common.
    pub(super) run: FanoutArgs,
}

/// fanfare in every framing that a peer uses, then the peers. An error when one of them is not installed: that is
/// better known before the first minute than after the tenth.
pub(super) fn contestants(args: &CompareArgs) -> Result<Vec<Contestant>, String> {
    let mut peers = Vec::new();
    for peer in &args.peers {
        let (kind, named) = match peer {
            PeerKind::Nchan => (ServerKind::Nchan, &args.nginx),
            PeerKind::Tokio => (ServerKind::TokioBroadcast, &args.tokio_broadcast),
        };
        peers.push(started(args, kind, kind.find(named.as_deref())?, FormatKind::Raw));
    }
    if let Some(url) = &args.url {
        peers.push(running(args, url)?);
    }
    let program = ServerKind::Fanfare.find(args.gateway.as_deref())?;
    let mut all = Vec::new();
    for format in [FormatKind::Raw, FormatKind::GoPush] {
        let wanted = peers.iter().any(|peer| peer.run.load.format == format);
        if wanted || (peers.is_empty() && format == FormatKind::Raw) {
            all.push(started(args, ServerKind::Fanfare, program.clone(), format));
        }
    }
    all.extend(peers);
    Ok(all)
}

fn started(
    args: &CompareArgs,
    kind: ServerKind,
    program: std::path::PathBuf,
    format: FormatKind,
) -> Contestant {
    let mut run = base(args);
    let manner = kind.manner(&run.load.topic, format);
    run.server.gateway = Some(program);
    run.server.kind = kind;
    run.server.room = args.connections;
    if kind == ServerKind::Fanfare {
        run.server.gateway_arg.clone_from(&args.gateway_arg);
    }
    run.load.format = manner.format;
    run.load.path = manner.path;
    run.load.publisher = manner.publisher;
    run.load.publish_path = manner.publish_path;
    Contestant { name: kind.name().into(), is_baseline: kind == ServerKind::Fanfare, run }
}

fn running(args: &CompareArgs, url: &str) -> Result<Contestant, String> {
    let parsed = Url::parse(url, "ws")?;
    let mut run = base(args);
    run.server.url = url.into();
    run.server.gateway_pid = args.url_pid;
    run.load.format = args.framing;
    run.load.publisher = match args.publish_as {
        HttpPublisher::Form => PublisherKind::Http,
        HttpPublisher::Array => PublisherKind::Array,
        HttpPublisher::Each => PublisherKind::Each,
    };
    if let Some(publish) = &args.publish {
        Url::parse(publish, "http")?;
        run.server.api.clone_from(publish);
    }
    if args.framing == FormatKind::Raw && !parsed.path.is_empty() {
        run.load.path = Some(parsed.path);
    }
    Ok(Contestant { name: parsed.authority, is_baseline: false, run })
}

/// What all servers are given alike.
fn base(args: &CompareArgs) -> FanoutArgs {
    let server = ServerArgs {
        url: String::new(),
        api: String::new(),
        gateway_pid: None,
        gateway: None,
        gateway_arg: Vec::new(),
        gateway_log: None,
        gateway_core: vec![args.gateway_core],
        kind: ServerKind::Fanfare,
        room: 0,
    };
    let load = LoadArgs {
        connections: args.connections,
        bytes: args.bytes,
        seconds: args.seconds,
        warmup: args.warmup,
        drain: args.drain,
        topics: 1,
        topic: "bench".into(),
        format: FormatKind::Raw,
        path: None,
        hello: None,
        publisher: PublisherKind::Http,
        publish_path: None,
        redis: String::new(),
        redis_channel: None,
        tick_ms: 5,
        publisher_core: None,
        ping_every: 0.0,
    };
    FanoutArgs::of(&server, &load, args.rate, &args.machine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;

    fn of(arguments: &[&str]) -> Result<Vec<Contestant>, String> {
        // Any file is a program here; nothing is started.
        let own = std::env::current_exe().unwrap();
        let own = own.to_str().unwrap();
        let line = ["fanfare-bench", "compare", "--gateway", own, "--tokio-broadcast", own];
        let cli = Cli::parse_from(line.iter().chain(arguments));
        let Command::Compare(args) = cli.command else { panic!("compare") };
        contestants(&args)
    }

    #[test]
    fn fanfare_comes_first_and_speaks_what_its_peers_speak() {
        let all = of(&["--peers", "tokio"]).unwrap();
        let seen: Vec<_> = all.iter().map(|one| (one.name.as_str(), one.run.load.format)).collect();
        assert_eq!(seen, [("fanfare", FormatKind::Raw), ("tokio-broadcast", FormatKind::Raw)]);
        let url = ["--url", "ws://127.0.0.1:9/ws", "--framing", "go-push", "--publish", "http://127.0.0.1:8"];
        let all = of(&[&["--peers", "tokio"], &url[..]].concat()).unwrap();
        let seen: Vec<_> = all.iter().map(|one| (one.name.as_str(), one.is_baseline)).collect();
        let wanted =
            [("fanfare", true), ("fanfare", true), ("tokio-broadcast", false), ("127.0.0.1:9", false)];
        assert_eq!(seen, wanted);
        assert_eq!(all[1].run.load.format, FormatKind::GoPush);
        assert_eq!(all[3].run.server.api, "http://127.0.0.1:8");
    }

    #[test]
    fn all_servers_get_the_same_load_on_the_same_core() {
        let arguments = ["--peers", "tokio", "--connections", "77", "--gateway-core", "3", "--bytes", "64"];
        for one in of(&arguments).unwrap() {
            assert_eq!(one.run.server.gateway_core, [3]);
            assert_eq!((one.run.load.connections, one.run.load.bytes), (77, 64));
            assert_eq!(one.run.load.tick_ms, 5);
        }
    }

    #[test]
    fn what_is_not_installed_is_told_before_anything_runs() {
        let said = of(&["--peers", "nchan", "--nginx", "/nonexistent/nginx"]).unwrap_err();
        assert!(said.contains("apt-get install nginx-light libnginx-mod-nchan"), "{said}");
    }
}
