//! A token on the wire: its hash stays in the cluster.

use flotilla_model as model;

use crate::admin::v1;

pub fn token(token: &model::Token) -> v1::Token {
    v1::Token {
        name: token.name.clone(),
        permissions: token.permissions.clone(),
        expires_at: token.expires_at,
        revision: token.revision,
    }
}
