//! API keys: SFTPGo's, for programs that act for an admin. The cluster stores hashes.

use std::sync::Arc;

use flotilla_model::command::{DeleteToken, Expected, PutApiKey};
use flotilla_model::{Command, LogIndex, Name, RecordKind, RequestId, State, Token, TokenKind};

use super::records::missing;
use super::{Caller, Changed, Service, checks, page};
use crate::access::{Act, Verb};
use crate::error::ApiError;

/// What a caller says of an API key.
#[derive(Clone, Debug, Default)]
pub struct ApiKeyInput {
    pub label: String,
    pub description: String,
    /// Empty: whom the caller names with the key, if that one allows it.
    pub admin: String,
    /// Milliseconds since the epoch, 0 = never.
    pub expires_at: u64,
}

/// An API key as it is shown.
pub struct ApiKeyView {
    pub id: String,
    pub input: ApiKeyInput,
    pub created_at: u64,
    pub updated_at: u64,
    pub revision: LogIndex,
}

const KIND: RecordKind = RecordKind::ApiKey;

/// `None`: another kind of token.
pub(crate) fn view(token: &Token) -> Option<ApiKeyView> {
    let TokenKind::ApiKey { id, label, description, admin } = &token.kind else { return None };
    let admin = admin.as_ref().map(Name::to_string).unwrap_or_default();
    Some(ApiKeyView {
        id: id.to_string(),
        input: ApiKeyInput {
            label: label.clone(),
            description: description.clone(),
            admin,
            expires_at: token.expires_at,
        },
        created_at: token.created_at,
        updated_at: token.updated_at,
        revision: token.revision,
    })
}

impl Service {
    pub async fn api_keys(
        &self,
        caller: &Caller,
        (offset, limit, descending): (usize, usize, bool),
        stale: bool,
    ) -> Result<(Arc<State>, Vec<ApiKeyView>), ApiError> {
        caller.may(Verb::Record(Act::List, KIND))?;
        let state = self.state(stale).await?;
        let mut all: Vec<ApiKeyView> = state.tokens().filter_map(|row| view(row)).collect();
        if descending {
            all.reverse();
        }
        let (skip, take) = page(all.len(), offset, limit, false);
        Ok((state, all.into_iter().skip(skip).take(take).collect()))
    }

    pub async fn api_key(&self, caller: &Caller, id: &str, stale: bool) -> Result<(Arc<State>, ApiKeyView), ApiError> {
        caller.may(Verb::Record(Act::Get, KIND))?;
        let id = Name::parse(id)?;
        let state = self.state(stale).await?;
        let found = state.api_key(&id).and_then(|row| view(row)).ok_or_else(|| missing(KIND, &id).judged_by(&state))?;
        Ok((state, found))
    }

    pub async fn create_api_key(
        &self,
        caller: &Caller,
        request: Option<RequestId>,
        id: Name,
        hash: &[u8],
        input: ApiKeyInput,
    ) -> Result<Changed, ApiError> {
        caller.may(Verb::Record(Act::Create, KIND))?;
        let hash = Some(checks::hash(hash)?);
        let command = command(id, Expected::Absent, hash, input)?;
        self.change(caller, request, command).await
    }

    pub async fn update_api_key(
        &self,
        caller: &Caller,
        request: Option<RequestId>,
        id: Name,
        expected: Option<LogIndex>,
        input: ApiKeyInput,
    ) -> Result<Changed, ApiError> {
        caller.may(Verb::Record(Act::Update, KIND))?;
        let command = command(id, Expected::of(expected), None, input)?;
        self.change(caller, request, command).await
    }

    pub async fn delete_api_key(
        &self,
        caller: &Caller,
        request: Option<RequestId>,
        id: &Name,
        expected_revision: Option<LogIndex>,
    ) -> Result<Changed, ApiError> {
        caller.may(Verb::Record(Act::Delete, KIND))?;
        let command = DeleteToken { name: Token::api_key_name(id), expected_revision };
        self.change(caller, request, Command::DeleteToken(command)).await
    }
}

fn command(id: Name, expected: Expected, hash: Option<[u8; 32]>, input: ApiKeyInput) -> Result<Command, ApiError> {
    Ok(Command::PutApiKey(PutApiKey {
        id,
        expected,
        hash,
        label: input.label,
        description: input.description,
        admin: checks::optional_name("admin", &input.admin)?,
        expires_at: input.expires_at,
    }))
}
