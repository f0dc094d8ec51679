//! `flotilla host-key …`.

use clap::Subcommand;
use flotilla_proto::admin::v1;
use serde_json::{Value, json};

use super::connect::Client;
use super::failure::Failure;
use super::output::{Data, Output};

#[derive(Subcommand, Clone, Debug)]
pub enum HostKeyCommand {
    /// Lists the host keys with their fingerprints, as clients see them.
    List,
    /// Replaces all host keys by new ones. Clients that know the old ones will warn until their known_hosts is changed.
    Rotate {
        /// Say that clients may warn.
        #[arg(long)]
        yes: bool,
    },
}

const COLUMNS: &[&str] = &["algorithm", "fingerprint", "public_key"];

pub(super) async fn run(client: &Client, command: HostKeyCommand) -> Result<Output, Failure> {
    match command {
        HostKeyCommand::List => {
            let answer = client.membership().list_host_keys(v1::ListHostKeysRequest {}).await?.into_inner();
            Ok(Output::many(COLUMNS, answer.host_keys.iter().map(shown).collect()))
        }
        HostKeyCommand::Rotate { yes: false } => Err(Failure::usage(
            "every client that knows the present host keys will warn and may refuse to connect: repeat with --yes",
        )),
        HostKeyCommand::Rotate { yes: true } => {
            let request = v1::RotateHostKeysRequest { request_id: client.request_id.clone() };
            let answer = client.membership().rotate_host_keys(request).await;
            let answer = answer.map_err(|status| Failure::of_change(status, &client.request_id))?.into_inner();
            let rows = answer.host_keys.iter().map(shown).collect();
            let changed =
                Output::changed("the host keys are replaced, on every node from its next connection on", answer.result);
            Ok(changed.with(Data::Many(COLUMNS, rows)))
        }
    }
}

fn shown(key: &v1::HostKey) -> Value {
    json!({"algorithm": key.algorithm, "fingerprint": key.fingerprint, "public_key": key.public_key})
}
