//! nginx with nchan: where Debian keeps them, and the configuration of a run.
//!
//! Each setting is there so that nchan does as well as it can: one worker, because a run gives each server one core;
//! keep-alive connections that never end, for the backend; no log line per request; a message buffer that a connection
//! which is behind for a moment cannot fall out of; pools that fit an upgrade (7.2 KB a connection instead of 10.4).

use std::path::{Path, PathBuf};

/// Where the configuration answers 200.
pub(super) const READY_PATH: &str = "/ready";

const MODULES: [&str; 3] = [
    "/usr/lib/nginx/modules/ngx_nchan_module.so",
    "/usr/lib64/nginx/modules/ngx_nchan_module.so",
    "/usr/share/nginx/modules/ngx_nchan_module.so",
];
const PROGRAMS: [&str; 3] = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"];

/// Messages that a channel keeps: at the rates that one core reaches, minutes of them.
const BUFFERED_MESSAGES: u32 = 100_000;

const REMEDY: &str = "apt-get install nginx-light libnginx-mod-nchan";

/// What differs between runs.
#[derive(Debug)]
pub(super) struct Settings<'a> {
    /// `host:port` for devices.
    pub(super) devices: &'a str,
    /// `host:port` for backends.
    pub(super) api: &'a str,
    /// Descriptors of the worker.
    pub(super) files: u64,
    /// Directory for nginx's own files.
    pub(super) dir: &'a Path,
}

/// nginx, when the module is there too.
pub(super) fn find(named: Option<&Path>) -> Result<PathBuf, String> {
    let program =
        named.map_or_else(|| first_of(&PROGRAMS), |path| path.is_file().then(|| path.to_path_buf()));
    let program = program.ok_or_else(|| match named {
        Some(path) => format!("there is no nginx at {}: {REMEDY}", path.display()),
        None => format!("nchan needs nginx, which is not installed: {REMEDY}"),
    })?;
    module().map(|_| program)
}

fn module() -> Result<PathBuf, String> {
    first_of(&MODULES).ok_or_else(|| format!("nginx has no nchan module: {REMEDY}"))
}

fn first_of(paths: &[&str]) -> Option<PathBuf> {
    paths.iter().map(PathBuf::from).find(|path| path.is_file())
}

/// The configuration. Devices ask for `/devices?id=TOPIC`; `POST /publish?id=TOPIC` takes one message a body.
pub(super) fn config(settings: &Settings<'_>) -> String {
    let Settings { devices, api, files, dir } = settings;
    // With less than a sixteenth of its connections free nginx closes those that have not asked for anything yet.
    let connections = files + files / 8;
    let (module, dir) = (module().unwrap_or_else(|_| MODULES[0].into()), dir.display());
    let module = module.display();
    format!(
        "\
load_module {module};
daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
pid {dir}/nginx.pid;
error_log stderr error;
events {{
    use epoll;
    worker_connections {connections};
    multi_accept on;
    accept_mutex off;
}}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    client_body_in_single_buffer on;
    client_body_buffer_size 64k;
    client_max_body_size 2m;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    nchan_shared_memory_size 512m;
    server {{
        listen {devices} backlog=65535;
        connection_pool_size 256;
        request_pool_size 1k;
        client_header_buffer_size 512;
        location = /devices {{
            nchan_subscriber websocket;
            nchan_channel_id $arg_id;
            nchan_subscriber_first_message newest;
            nchan_subscriber_timeout 0;
        }}
    }}
    server {{
        listen {api} backlog=511;
        location = {READY_PATH} {{
            return 200;
        }}
        location = /publish {{
            nchan_publisher http;
            nchan_channel_id $arg_id;
            nchan_message_buffer_length {BUFFERED_MESSAGES};
            nchan_message_timeout 2m;
        }}
    }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_has_its_ports_its_directory_and_room_for_every_connection() {
        let dir = Path::new("/tmp/x");
        let settings = Settings { devices: "127.0.0.1:1", api: "127.0.0.1:2", files: 16_000, dir };
        let text = config(&settings);
        for line in [
            "worker_processes 1;",
            "worker_rlimit_nofile 16000;",
            "worker_connections 18000;",
            "listen 127.0.0.1:1 backlog=65535;",
            "listen 127.0.0.1:2 backlog=511;",
            "pid /tmp/x/nginx.pid;",
            "request_pool_size 1k;",
            "nchan_subscriber websocket;",
            "nchan_subscriber_first_message newest;",
            "nchan_message_buffer_length 100000;",
            "access_log off;",
        ] {
            assert!(text.lines().any(|have| have.trim() == line), "{line} in:\n{text}");
        }
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }

    #[test]
    fn a_missing_nginx_is_one_sentence_with_the_package() {
        let said = find(Some(Path::new("/nonexistent/nginx"))).unwrap_err();
        assert_eq!(said, format!("there is no nginx at /nonexistent/nginx: {REMEDY}"));
    }
}
