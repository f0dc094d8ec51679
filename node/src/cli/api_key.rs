//! `flotilla api-key …`: keys for programs that act for an admin.

use base64::Engine;
use clap::Subcommand;
use flotilla_proto::admin::v1;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::connect::Client;
use super::failure::Failure;
use super::output::{Data, Output};

#[derive(Subcommand, Clone, Debug)]
pub enum ApiKeyCommand {
    /// Makes a key and prints it once: send it as `X-SFTPGO-API-KEY`.
    Add {
        /// The key's id.
        id: String,
        /// Whom it acts for. Without it: the admin named behind the key (ID.KEY.ADMIN), if that one allows it.
        #[arg(long)]
        admin: Option<String>,
        #[arg(long, default_value = "")]
        name: String,
        #[arg(long, default_value = "")]
        description: String,
        /// Milliseconds since 1970-01-01 UTC; 0 = never.
        #[arg(long, default_value_t = 0)]
        expires_at: u64,
    },
    /// Lists keys without their secrets.
    List,
    /// Revokes a key: it is refused at its next call, on every node.
    Remove { id: String },
}

pub(super) async fn run(client: &Client, command: ApiKeyCommand) -> Result<Output, Failure> {
    match command {
        ApiKeyCommand::Add { id, admin, name, description, expires_at } => {
            let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
            let admin = admin.unwrap_or_default();
            let api_key = v1::ApiKey { id: id.clone(), name, description, admin, expires_at, ..Default::default() };
            let request = v1::CreateApiKeyRequest {
                api_key: Some(api_key),
                hash: Sha256::digest(text.as_bytes()).to_vec(),
                request_id: client.request_id.clone(),
            };
            let again = format!("flotilla api-key remove {id}, then run it again");
            let answer = client.tokens().create_api_key(request).await;
            let answer = answer.map_err(|status| Failure::of_secret(status, &again))?.into_inner();
            let output = Output::changed(&format!("API key {id} is made"), answer.result);
            Ok(output.with(Data::Line(format!("{id}.{text}"))))
        }
        ApiKeyCommand::List => {
            let (mut rows, mut token) = (Vec::new(), String::new());
            loop {
                let page = Some(v1::Page { size: 1000, token, consistency: 0 });
                let page = client.tokens().list_api_keys(v1::ListApiKeysRequest { page }).await?.into_inner();
                rows.extend(page.api_keys.iter().map(shown));
                if page.next_page_token.is_empty() {
                    return Ok(Output::many(&["id", "name", "admin", "expires_at", "revision"], rows));
                }
                token = page.next_page_token;
            }
        }
        ApiKeyCommand::Remove { id } => {
            let request =
                v1::DeleteApiKeyRequest { id: id.clone(), request_id: client.request_id.clone(), ..Default::default() };
            let answer = client.changed(client.tokens().delete_api_key(request).await)?;
            Ok(Output::changed(&format!("API key {id} is revoked"), answer.result))
        }
    }
}

fn shown(key: &v1::ApiKey) -> Value {
    json!({
        "id": key.id,
        "name": key.name,
        "description": key.description,
        "admin": key.admin,
        "expires_at": key.expires_at,
        "created_at": key.created_at,
        "updated_at": key.updated_at,
        "revision": key.revision,
    })
}
