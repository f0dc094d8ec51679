//! `flotilla user key …`: read, change, write on condition that nobody changed the record meanwhile.

use std::path::PathBuf;

use clap::Subcommand;
use flotilla_auth::PublicKey;
use serde_json::json;

use super::Change;
use crate::cli::connect::Client;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::user_fields::key_lines;

#[derive(Subcommand, Clone, Debug)]
pub enum KeyCommand {
    /// Lists a user's keys with their fingerprints.
    List { username: String },
    /// Adds the keys of a file (one a line, as authorized_keys).
    Add { username: String, file: PathBuf },
    /// Removes a key. Sessions opened with it end.
    Remove {
        username: String,
        /// SHA256:… as `list` and `ssh-keygen -l` show it.
        fingerprint: String,
    },
}

pub(super) async fn run(client: &Client, command: KeyCommand) -> Result<Output, Failure> {
    match command {
        KeyCommand::List { username } => {
            let user = super::get(client, username).await?;
            let row = |line: &String| json!({"fingerprint": fingerprint(line), "key": line});
            Ok(Output::many(&["fingerprint", "key"], user.public_keys.iter().map(row).collect()))
        }
        KeyCommand::Add { username, file } => {
            let added = key_lines(&file)?;
            let change = |keys: &mut Vec<String>| {
                let before = keys.len();
                for line in added {
                    let is_new = keys.iter().all(|key| fingerprint(key) != fingerprint(&line));
                    keys.extend(is_new.then_some(line));
                }
                if keys.len() > before { Ok(()) } else { Err(Failure::other("the user has these keys already")) }
            };
            edit(client, username, change).await
        }
        KeyCommand::Remove { username, fingerprint: wanted } => {
            let change = |keys: &mut Vec<String>| {
                let before = keys.len();
                keys.retain(|line| fingerprint(line) != wanted);
                if keys.len() < before { Ok(()) } else { Err(Failure::not_found(format!("no key {wanted}"))) }
            };
            edit(client, username, change).await
        }
    }
}

async fn edit(
    client: &Client,
    username: String,
    change: impl FnOnce(&mut Vec<String>) -> Result<(), Failure>,
) -> Result<Output, Failure> {
    let mut keys = super::get(client, username.clone()).await?;
    change(&mut keys.public_keys)?;
    let mut wanted = Change::of(&username);
    wanted.expected_revision = Some(keys.revision);
    wanted.user.public_keys = keys.public_keys;
    wanted.mask.push("public_keys".to_owned());
    super::update(client, wanted, &format!("keys of {username} are changed")).await
}

fn fingerprint(line: &str) -> String {
    PublicKey::parse_line(line).map_or_else(|error| error.to_string(), |key| key.fingerprint())
}
