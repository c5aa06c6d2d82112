//! The flags of the configuration. *Not here*: the commands beside them (`cli`).

use std::path::PathBuf;

use clap::Args;

use super::given::Given;
use super::keys;
use super::problem::Origin;

/// Values are text here: all values are checked in one place. No `Debug`: a password may be among it.
#[derive(Args, Clone, Default)]
#[command(about = None, long_about = None)]
pub struct Flags {
    /// Read this file; none is looked for otherwise
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Where devices connect [server.listen, default 0.0.0.0:7777]
    #[arg(long, value_name = "ADDR", global = true)]
    pub listen: Option<String>,
    /// Where the HTTP API and the metrics are [api.listen, default 127.0.0.1:7799]
    #[arg(long, value_name = "ADDR", global = true)]
    pub api: Option<String>,
    /// Redis to subscribe to: redis://, rediss:// or unix:// [redis.url, default none]
    #[arg(long, value_name = "URL", global = true)]
    pub redis: Option<String>,
    /// Number of shards, or auto [server.shards, default auto]
    #[arg(long, value_name = "N", global = true)]
    pub shards: Option<String>,
    /// Check the configuration and exit: 0 when it is good, 78 when it is not
    #[arg(long)]
    pub check: bool,
    /// Print the configuration in effect as a file and exit
    #[arg(long, conflicts_with = "check")]
    pub print_config: bool,
}

impl Flags {
    /// The values given, by position in [`keys::KEYS`].
    pub(super) fn given(&self) -> impl Iterator<Item = (usize, Given, Origin)> {
        [
            ("server", "listen", "--listen", &self.listen),
            ("api", "listen", "--api", &self.api),
            ("redis", "url", "--redis", &self.redis),
            ("server", "shards", "--shards", &self.shards),
        ]
        .into_iter()
        .filter_map(|(section, name, flag, value)| {
            let text = value.clone()?;
            Some((keys::position(section, name)?, Given::Plain(text), Origin::Flag(flag)))
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        flags: Flags,
    }

    #[test]
    fn every_flag_that_gives_a_value_reaches_its_key() {
        let arguments = [
            "fanfare",
            "--listen",
            "1.1.1.1:1",
            "--api",
            "2.2.2.2:2",
            "--redis",
            "redis://r",
            "--shards",
            "4",
        ];
        let Ok(Program { flags }) = Program::try_parse_from(arguments) else { panic!("known flags") };
        let given: Vec<String> = flags
            .given()
            .map(|(key, given, origin)| format!("{} {given} {origin}", keys::KEYS[key].path()))
            .collect();
        assert_eq!(
            given,
            [
                "server.listen \"1.1.1.1:1\" --listen",
                "api.listen \"2.2.2.2:2\" --api",
                "redis.url \"redis://r\" --redis",
                "server.shards \"4\" --shards",
            ]
        );
    }

    #[test]
    fn without_flags_nothing_is_given() {
        assert_eq!(Flags::default().given().count(), 0);
    }
}
