//! The `flotilla` program: one binary for nodes, the demonstration and administration.

mod addresses;
mod admin_tls;
mod backup;
mod bootstrap;
mod cli;
mod config;
mod descriptors;
mod desk;
mod dev;
mod gauges;
mod identity;
mod init;
mod join_token;
mod manual;
mod notify;
mod readiness;
mod reload;
mod secrets;
mod serve;
mod telemetry;
mod upkeep;
mod watchdog;

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};

/// What still runs when all work is done is given up after this.
const HUNG: Duration = Duration::from_secs(2);

/// SFTP that survives its servers.
#[derive(Parser)]
#[command(name = "flotilla", version, arg_required_else_help = true)]
struct Arguments {
    #[command(flatten)]
    globals: cli::Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a cluster on loopback with a demo user, to try things out.
    Dev(dev::DevArgs),
    /// Makes a new cluster: this machine's data folder, the CA, the keys, the first admin token.
    Init(init::InitArgs),
    /// Makes this machine a node of a cluster, with a token of `flotilla cluster token`.
    Join(init::JoinArgs),
    /// Runs a node.
    Serve(serve::ServeArgs),
    /// Checks, shows or describes a node's configuration.
    #[command(subcommand)]
    Config(config::command::ConfigCommand),
    /// Prints a shell's completions.
    Completions { shell: clap_complete::Shell },
    /// Prints the OpenAPI document of the REST interface; a node serves it at /api/v2/openapi.json.
    Openapi,
    /// Writes man pages into a folder.
    Man { folder: std::path::PathBuf },
    #[command(flatten)]
    Admin(cli::AdminCommand),
}

fn main() -> ExitCode {
    if std::env::args_os().len() == 1 {
        // A reader that went away is no failure.
        let _ = std::io::Write::write_all(&mut std::io::stdout(), manual::FIRST_SCREEN.as_bytes());
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::parse();
    #[cfg(feature = "planted-bugs")]
    if let Ok(name) = std::env::var("FLOTILLA_PLANTED_BUG")
        && !flotilla_model::planted::plant(&name)
    {
        eprintln!("FLOTILLA_PLANTED_BUG={name}: one of {:?}", flotilla_model::planted::NAMES);
        return ExitCode::from(2);
    }
    // The storage knows no bug's name.
    #[cfg(feature = "planted-bugs")]
    if flotilla_model::planted::is("credit-before-sync") {
        flotilla_vfs::CREDITS_BEFORE_SYNC.store(true, std::sync::atomic::Ordering::Relaxed);
    }
    match arguments.command {
        Command::Dev(dev) => outcome(runtime().and_then(|runtime| runtime.block_on(dev::run(dev)))),
        Command::Init(arguments) => outcome(init::init(arguments)),
        Command::Join(join) => outcome(runtime().and_then(|runtime| runtime.block_on(init::join(join)))),
        Command::Serve(serve) => outcome(runtime().and_then(|runtime| to_the_end(runtime, serve::run(serve)))),
        Command::Config(command) => match config::command::run(command) {
            Ok(output) => output.print(arguments.globals.output),
            Err(error) => outcome(Err(error)),
        },
        Command::Completions { shell } => {
            manual::completions(Arguments::command(), shell);
            ExitCode::SUCCESS
        }
        Command::Openapi => {
            let text = format!("{:#}\n", flotilla_api::openapi());
            // A reader that went away is no failure.
            let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
            ExitCode::SUCCESS
        }
        Command::Man { folder } => {
            outcome(manual::pages(Arguments::command(), &folder).map(|pages| eprintln!("{pages} pages")))
        }
        Command::Admin(command) => match runtime() {
            Ok(runtime) => runtime.block_on(cli::run(command, arguments.globals)),
            Err(error) => outcome(Err(error)),
        },
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("flotilla").build()?)
}

/// A call to a storage that hangs does not keep a drained node's process alive.
fn to_the_end<T>(runtime: tokio::runtime::Runtime, run: impl Future<Output = T>) -> T {
    let ended = runtime.block_on(run);
    runtime.shutdown_timeout(HUNG);
    ended
}

fn outcome(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flotilla: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_call_that_hangs_does_not_keep_the_process() {
        let (holds, hangs) = std::sync::mpsc::channel::<()>();
        let run = async {
            tokio::task::spawn_blocking(move || hangs.recv());
            7
        };
        assert_eq!(super::to_the_end(super::runtime().expect("a runtime"), run), 7);
        drop(holds);
    }
}
