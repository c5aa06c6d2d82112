//! The program: arguments, configuration, log, probe, server, signals, exit code. Each step is somebody else's module.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use fanfare::cli::{Arguments, Command};
use fanfare::client::http::Gateway;
use fanfare::client::{self, Exit};
use fanfare::config::flags::Flags;
use fanfare::config::{self, Config, print, raw};
use fanfare::doctor;
use fanfare::server::error::StartError;
use fanfare::server::sockets::Sockets;
use fanfare::server::{self, Outcome};
use fanfare::supervision::{self, Origins, Reporter, Saved};
use fanfare::sys::signals::{self, Signals};
use fanfare::sys::{activation, affinity, files, probe};
use fanfare::{log, topology};

/// Each thread frees and reuses its own memory without meeting the others', and can give it back (`sys::memory`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `EX_CONFIG` of sysexits.h: the operator has something to fix, a restart alone does not help.
const EXIT_OPERATOR: u8 = 78;
/// `EX_SOFTWARE` of sysexits.h: something failed that should not.
const EXIT_INTERNAL: u8 = 70;
/// A drain was cut short: clients were not told, and messages on their way may be lost.
const EXIT_FORCED: u8 = 1;
/// Doctor found what has to be mended, or could not look.
const EXIT_BAD_HOST: u8 = 1;

/// Why the program ends before it serves: a sentence for the operator, and the exit code.
struct Failure {
    sentence: String,
    code: u8,
}

fn main() -> ExitCode {
    signals::ignore_failed_writes();
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(answer) => {
            // Help and version are answers too, on standard output.
            let _ = answer.print();
            return if answer.use_stderr() { ExitCode::from(EXIT_OPERATOR) } else { ExitCode::SUCCESS };
        }
    };
    let code = run(&arguments).unwrap_or_else(|failure| {
        log::tell(&failure.sentence);
        ExitCode::from(failure.code)
    });
    log::flush();
    code
}

fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let flags = &arguments.flags;
    if let Some(command) = &arguments.command {
        return answer(command, flags);
    }
    // Looked at before it is read: what is saved while the gateway starts is noticed later.
    let saved = Saved::new(flags.config.as_ref());
    let loaded = raw::load(flags, std::env::vars_os()).map_err(for_operator)?;
    // Before any thread is pinned: afterwards the answer is the pinned core.
    let cores = affinity::allowed();
    if flags.print_config {
        // The file is on standard output.
        loaded.warnings.iter().for_each(log::tell);
        say(&print::to_toml(&loaded))?;
        return Ok(ExitCode::SUCCESS);
    }
    let config = loaded.config.clone();
    if flags.check {
        let (summary, threads) = (print::Summary(&config), threads(&config, &cores));
        say(&format!("configuration ok\n{summary}\n{threads}\n"))?;
        let warnings = loaded.warnings.iter().map(ToString::to_string);
        for warning in warnings.chain(config::Api::exposed(config.api.listen)) {
            say(&format!("warning: {warning}\n"))?;
        }
        return Ok(ExitCode::SUCCESS);
    }

    // Before anything is opened, so that the descriptors are those that the service manager put there.
    let inherited = activation::take(std::env::vars_os()).map_err(for_operator)?;
    // Before any thread is started: threads inherit that these signals are blocked.
    let mut signals = Signals::block().map_err(internal)?;
    let (level, log_writer) = log::start(&config.log).map_err(internal)?;
    server::write_log(log_writer)?;
    let sockets = Sockets::sort(inherited, &config)?;
    probe::io_uring().map_err(for_operator)?;
    let descriptors = files::raise_nofile_limit().map_err(internal)?.soft;
    tracing::info!("fanfare {}: {}", env!("CARGO_PKG_VERSION"), print::Summary(&config));
    tracing::info!("{}, each with up to {descriptors} open files", threads(&config, &cores));
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    for inherited in &sockets.devices {
        tracing::info!(
            "{} is the service manager's, for devices; server.listen is not used",
            inherited.address
        );
    }
    warn_of_quota(&config, cores.len());

    let running = server::start(config, sockets, &cores, &signals.waker())?;
    tracing::info!("devices connect to {}, the API is at http://{}", running.devices(), running.api());
    // Where it is now: a socket of the service manager may be somewhere else than api.listen says.
    if let Some(exposed) = config::Api::exposed(running.api()) {
        tracing::warn!("{exposed}");
    }
    let reporter = Reporter::from_environment(std::env::vars_os());
    let origins = Origins { flags, loaded, saved, level };
    match supervision::supervise(running, &mut signals, reporter, origins) {
        Outcome::Drained => {
            tracing::info!("drained");
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Forced(signal) => Err(Failure {
            sentence: format!("{signal} while it drained: stopped at once"),
            code: EXIT_FORCED,
        }),
        Outcome::Died(cause) => Err(internal(cause)),
    }
}

/// What is not serving.
fn answer(command: &Command, flags: &Flags) -> Result<ExitCode, Failure> {
    let gateway = || Gateway::find(flags, std::env::vars_os());
    let exit: Exit = match command {
        Command::Doctor(asked) => {
            let loaded = raw::load(flags, std::env::vars_os()).map_err(for_operator)?;
            return answer_doctor(asked, loaded.config);
        }
        // What was pushed was pushed, whether or not that can be told.
        Command::Push(asked) => return Ok(ExitCode::from(asked.run(&gateway()?)?.code())),
        Command::Pushes(asked) => asked.run(&gateway()?)?,
        Command::Top(asked) => asked.run(&gateway()?)?,
    };
    Ok(ExitCode::from(client::check_told(exit).map_or(EXIT_INTERNAL, Exit::code)))
}

fn answer_doctor(asked: &doctor::Arguments, config: Config) -> Result<ExitCode, Failure> {
    let diagnosis = doctor::diagnose(asked, config).map_err(for_operator)?;
    say(&if asked.json { diagnosis.to_json() + "\n" } else { diagnosis.to_string() })?;
    Ok(if diagnosis.is_good() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_BAD_HOST) })
}

fn for_operator(problem: impl Display) -> Failure {
    Failure { sentence: problem.to_string(), code: EXIT_OPERATOR }
}

impl From<client::Failure> for Failure {
    fn from(failure: client::Failure) -> Self {
        Self { sentence: failure.sentence, code: failure.exit.code() }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self { code: error.exit_code(), sentence: error.to_string() }
    }
}

fn internal(error: impl Display) -> Failure {
    Failure { sentence: error.to_string(), code: EXIT_INTERNAL }
}

/// To standard output. Whoever closes it early (`| head`) has seen enough.
fn say(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(internal(format!("standard output takes no more: {error}")))
        }
        _ => Ok(()),
    }
}

/// "3 shards on 4 CPUs"
fn threads(config: &Config, cores: &[usize]) -> String {
    let count = |n: usize, noun: &str| format!("{n} {noun}{}", if n == 1 { "" } else { "s" });
    let shards = topology::plan(cores, &config.server).shards.len();
    format!("{} on {}", count(shards, "shard"), count(cores.len(), "CPU"))
}

/// A quota stops all threads of the process at once when they have used it up; fewer threads use it up later.
fn warn_of_quota(config: &Config, cores: usize) {
    if config.server.shards.is_none()
        && let Some(quota) = affinity::quota(cores)
    {
        tracing::warn!(
            "a cgroup's quota leaves the time of {quota} of {cores} CPUs: set server.shards to {quota} and server.pin \
             to false, or lift the quota"
        );
    }
}
