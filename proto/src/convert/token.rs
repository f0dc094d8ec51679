//! A token on the wire: its hash stays in the cluster.

use flotilla_model as model;

use crate::admin::v1;

pub fn token(token: &model::Token) -> v1::Token {
    let kind = match &token.kind {
        model::TokenKind::Standing => "standing",
        model::TokenKind::Login { .. } => "login",
        model::TokenKind::ApiKey { .. } => "api_key",
    };
    v1::Token {
        kind: kind.to_owned(),
        admin: token.admin().map(model::Name::to_string).unwrap_or_default(),
        created_at: token.created_at,
        name: token.name.clone(),
        permissions: token.permissions.clone(),
        expires_at: token.expires_at,
        revision: token.revision,
    }
}
