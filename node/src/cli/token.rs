//! `flotilla token …`: the token is made here; the cluster gets its hash.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use clap::Subcommand;
use flotilla_proto::admin::v1;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::connect::Client;
use super::failure::Failure;
use super::output::{Data, Output};

#[derive(Subcommand, Clone, Debug)]
pub enum TokenCommand {
    /// Makes a token and prints it once, or writes it to a file.
    Create {
        name: String,
        /// Admin permission, for example view_users; repeat for more. Without it: all ("*").
        #[arg(long = "permission")]
        permissions: Vec<String>,
        /// Milliseconds since 1970-01-01 UTC; 0 = never.
        #[arg(long, default_value_t = 0)]
        expires_at: u64,
        /// New file (mode 0600) for the token instead of stdout.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Lists names and permissions.
    List,
    /// Makes an admin token anew on a node, through its data folder: when the token was lost. Whoever had it is shut out.
    Reset {
        /// The token's name; without it that of the first token, which `init` and `dev` made.
        #[arg(long, default_value = crate::bootstrap::FIRST_TOKEN)]
        name: String,
        /// The node's data folder.
        #[arg(long)]
        data: PathBuf,
        /// New file (mode 0600) for the token instead of stdout.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Revokes a token: it is refused at its next call, on every node.
    Delete { name: String },
}

pub(super) async fn run(client: &Client, command: TokenCommand) -> Result<Output, Failure> {
    match command {
        TokenCommand::Create { name, permissions, expires_at, out } => {
            let permissions = if permissions.is_empty() { vec!["*".to_owned()] } else { permissions };
            let token = v1::Token { name, permissions, expires_at, ..v1::Token::default() };
            create(client, token, out).await
        }
        TokenCommand::List => {
            let answer = client.tokens().list_tokens(v1::ListTokensRequest {}).await?.into_inner();
            let shown = |token: &v1::Token| {
                json!({
                    "name": token.name,
                    "permissions": token.permissions,
                    "expires_at": token.expires_at,
                    "revision": token.revision,
                })
            };
            let rows = answer.tokens.iter().map(shown).collect();
            Ok(Output::many(&["name", "permissions", "expires_at", "revision"], rows))
        }
        TokenCommand::Reset { .. } => Err(Failure::usage("a token is reset through a node's data folder")),
        TokenCommand::Delete { name } => {
            let request = v1::DeleteTokenRequest {
                name: name.clone(),
                request_id: client.request_id.clone(),
                ..Default::default()
            };
            let answer = client.tokens().delete_token(request).await;
            let answer = answer.map_err(|status| Failure::of_change(status, &client.request_id))?.into_inner();
            Ok(Output::changed(&format!("token {name} is revoked"), answer.result))
        }
    }
}

/// Needs no token: who can open the node's data folder owns the node.
pub(super) async fn reset(
    name: String,
    data: &Path,
    out: Option<PathBuf>,
    globals: super::Globals,
) -> Result<Output, Failure> {
    let socket = data.join(crate::serve::LOCAL_SOCKET);
    let endpoint = format!("{}{}", super::connect::LOCAL, socket.display());
    let client = Client::connect(&super::Globals { endpoint, token_file: None, ..globals }).await?;
    let text = new_text(out.as_deref())?;
    let done = replace(&client, &name, &text).await;
    given(done, &name, text, out)
}

/// The old one is refused from here on, whatever becomes of the new one.
async fn replace(client: &Client, name: &str, text: &str) -> Result<Option<v1::ChangeResult>, Failure> {
    const AGAIN: &str = "run it again, with another --out";
    let request = v1::DeleteTokenRequest { name: name.to_owned(), ..Default::default() };
    match client.tokens().delete_token(request).await {
        Err(status) if status.code() != tonic::Code::NotFound => return Err(Failure::of_secret(status, AGAIN)),
        _ => {}
    }
    let token = v1::Token { name: name.to_owned(), permissions: vec!["*".to_owned()], ..v1::Token::default() };
    store(client, token, text, AGAIN).await
}

async fn create(client: &Client, token: v1::Token, out: Option<PathBuf>) -> Result<Output, Failure> {
    let name = token.name.clone();
    let text = new_text(out.as_deref())?;
    let again = format!("flotilla token delete {name}, then run it again, with another --out");
    let done = store(client, token, &text, &again).await;
    given(done, &name, text, out)
}

/// The file is written first: a token that the cluster knows and nobody has would be worse.
fn new_text(out: Option<&Path>) -> Result<String, Failure> {
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    out.map(|path| write_secret(path, &text)).transpose()?;
    Ok(text)
}

async fn store(
    client: &Client,
    token: v1::Token,
    text: &str,
    again: &str,
) -> Result<Option<v1::ChangeResult>, Failure> {
    let hash = Sha256::digest(text.as_bytes()).to_vec();
    let request = v1::CreateTokenRequest { token: Some(token), hash, request_id: client.request_id.clone() };
    let answer = client.tokens().create_token(request).await;
    answer.map(|answer| answer.into_inner().result).map_err(|status| Failure::of_secret(status, again))
}

/// The token's text, or a word that it is in its file.
fn given(
    done: Result<Option<v1::ChangeResult>, Failure>,
    name: &str,
    text: String,
    out: Option<PathBuf>,
) -> Result<Output, Failure> {
    if let (Err(failure), Some(path)) = (&done, &out)
        && !failure.unknown
    {
        // Best effort: what is left is a text that opens nothing.
        let _ = std::fs::remove_file(path);
    }
    let output = Output::changed(&format!("token {name} is made"), done?);
    Ok(if out.is_some() { output } else { output.with(Data::Line(text)) })
}

fn write_secret(path: &Path, text: &str) -> Result<(), Failure> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(format!("{text}\n").as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| Failure::usage(format!("--out {}: {error}", path.display())))
}
