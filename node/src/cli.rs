//! The administration's verbs on the command line: a client of the gRPC interface, nothing more.
//!
//! Data goes to stdout, talk to stderr. Exit codes: 0, 1 failure, 2 usage, 3 not found, 4 conflict, 5 no quorum.

mod admin;
mod api_key;
mod backup;
mod cluster;
mod connect;
mod events;
mod failure;
mod host_key;
mod output;
pub(crate) mod progress;
mod quota;
mod records;
mod secret;
mod session;
mod size;
#[cfg(test)]
mod tests;
mod tls;
mod token;
mod user;
mod user_fields;
mod yaml;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use self::connect::Client;
use self::failure::Failure;
pub(crate) use self::output::Output;

/// Options of every verb of administration.
#[derive(Args, Clone, Debug)]
pub struct Globals {
    /// Admin addresses of nodes, separated by commas: the first that can be reached is used. unix:DATA/admin.sock is a node's own
    /// data folder, where no token is needed.
    #[arg(long, global = true, env = "FLOTILLA_ENDPOINT", default_value = "http://127.0.0.1:8080")]
    pub endpoint: String,
    /// File that holds the admin token; without it the variable FLOTILLA_TOKEN.
    #[arg(long, global = true)]
    pub token_file: Option<PathBuf>,
    /// PEM certificates of the CAs that https endpoints are believed by: the cluster's CA, or your own.
    #[arg(long, global = true, env = "FLOTILLA_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// PEM chain of a client certificate that speaks for an admin.
    #[arg(long, global = true, env = "FLOTILLA_CERT", requires = "key")]
    pub cert: Option<PathBuf>,
    /// PEM key of the client certificate.
    #[arg(long, global = true, env = "FLOTILLA_KEY", requires = "cert")]
    pub key: Option<PathBuf>,
    /// How data is shown.
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub output: output::Format,
    /// UUIDv7 of a change whose outcome was not known: the same id answers the same and does nothing twice.
    #[arg(long, global = true)]
    pub request_id: Option<String>,
}

/// The nouns.
#[derive(Subcommand, Clone, Debug)]
pub enum AdminCommand {
    /// Users: who may log in, and what they may do.
    #[command(subcommand)]
    User(user::UserCommand),
    /// Sessions of all nodes.
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// Quotas: limits, usage, scans.
    #[command(subcommand)]
    Quota(quota::QuotaCommand),
    /// The cluster and its nodes.
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Admins: who administers, and what they may do.
    #[command(subcommand)]
    Admin(admin::AdminsCommand),
    /// Groups of users.
    #[command(subcommand)]
    Group(records::GroupCommand),
    /// Folders that groups show.
    #[command(subcommand)]
    Folder(records::FolderCommand),
    /// Roles: admins of a role see and change only the users of it.
    #[command(subcommand)]
    Role(records::RoleCommand),
    /// The SSH host keys that all nodes show.
    #[command(subcommand)]
    HostKey(host_key::HostKeyCommand),
    /// Tokens for administration.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// API keys for programs that act for an admin.
    #[command(subcommand)]
    ApiKey(api_key::ApiKeyCommand),
    /// The history: who changed what, from where; sessions, nodes, scans.
    Events(events::EventsArgs),
    /// Backups of users, quotas and settings.
    #[command(subcommand)]
    Backup(backup::BackupCommand),
    /// Asks a node for a read that needs a quorum.
    Ping,
}

impl AdminCommand {
    /// It prints a secret of which the cluster gets the hash.
    fn makes_secret(&self) -> bool {
        matches!(
            self,
            AdminCommand::Token(token::TokenCommand::Create { .. } | token::TokenCommand::Reset { .. })
                | AdminCommand::ApiKey(api_key::ApiKeyCommand::Add { .. })
                | AdminCommand::Cluster(cluster::ClusterCommand::Token { .. })
        )
    }
}

/// Runs a verb, prints what it gives, says how it ended.
pub async fn run(command: AdminCommand, globals: Globals) -> ExitCode {
    let format = globals.output;
    match execute(command, globals).await {
        Ok(output) => output.print(format),
        Err(failure) => {
            eprintln!("flotilla: {failure}");
            failure.exit_code()
        }
    }
}

async fn execute(command: AdminCommand, globals: Globals) -> Result<Output, Failure> {
    let format = globals.output;
    if globals.request_id.is_some() && command.makes_secret() {
        return Err(Failure::usage(
            "--request-id: not with a verb that makes a secret. If a first call came through, the cluster has that call's \
             secret and would not take this one's: delete what it may have made and make it anew, without --request-id",
        ));
    }
    if let AdminCommand::Cluster(cluster::ClusterCommand::Recover { config, others_are_lost }) = &command {
        return cluster::recover(config, *others_are_lost).await;
    }
    // Some of its verbs need no cluster.
    if let AdminCommand::Backup(command) = command {
        return backup::run(command, &globals).await;
    }
    if let AdminCommand::Token(token::TokenCommand::Reset { name, data, out }) = command {
        return token::reset(name, &data, out, globals).await;
    }
    let client = Client::connect(&globals).await?;
    match command {
        AdminCommand::User(command) => user::run(&client, command).await,
        AdminCommand::Session(command) => session::run(&client, command).await,
        AdminCommand::Quota(command) => quota::run(&client, command).await,
        AdminCommand::Cluster(command) => cluster::run(&client, command, format).await,
        AdminCommand::HostKey(command) => host_key::run(&client, command).await,
        AdminCommand::Token(command) => token::run(&client, command).await,
        AdminCommand::Admin(command) => admin::run(&client, command).await,
        AdminCommand::Group(command) => records::group(&client, command).await,
        AdminCommand::Folder(command) => records::folder(&client, command).await,
        AdminCommand::Role(command) => records::role(&client, command).await,
        AdminCommand::ApiKey(command) => api_key::run(&client, command).await,
        AdminCommand::Events(arguments) => events::run(&client, arguments, globals.output).await,
        AdminCommand::Backup(_) => unreachable!("answered above"),
        AdminCommand::Ping => cluster::ping(&client).await,
    }
}
