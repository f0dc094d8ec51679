//! Who calls: the holder of a token, of an API key, or of an admin's password. Judged at every call by what the cluster knows.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::ConnectInfo;
use base64::Engine;
use flotilla_auth::{Secret, Verdict};
use flotilla_model::{Admin, AdminSpec, LogIndex, Name, NodeId, Session, State, Status, Token, TokenKind, User};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{DEADLINE, STATUS_BARRIER, Service, checks, wall_ms};
use crate::access::{self, Credential, Verb};
use crate::error::{ApiError, Code};
use crate::server::{CertificateName, LocalUser};

const PASSWORD_NEEDED: &str = "an admin's name and password are needed: Authorization: Basic";

/// An authenticated caller.
#[derive(Clone, Debug)]
pub struct Caller {
    /// `admin NAME` or `admin token NAME`, for events.
    pub name: String,
    permissions: Vec<String>,
    /// Only users of this role are seen and changed.
    pub(crate) role: Option<Name>,
    /// Whose permissions these are; `None`: a token's own.
    pub(crate) admin: Option<Name>,
    /// The token of the call; `None`: a password.
    pub(crate) token: Option<Arc<Token>>,
    /// The revision of the admin whose password verified.
    pub(crate) verified: Option<LogIndex>,
    pub(crate) source: Option<SocketAddr>,
}

impl Caller {
    /// Whether the caller may do this (`access.rs`).
    pub fn may(&self, verb: Verb) -> Result<(), ApiError> {
        let Some(permission) = verb.permission() else { return Ok(()) };
        if verb.concerns_all_users() && self.role.is_some() {
            let text = format!("{} has a role, and this concerns the users of all roles", self.name);
            return Err(ApiError::new(Code::Forbidden, text));
        }
        if self.permissions.iter().any(|held| held == "*" || held == permission) {
            return Ok(());
        }
        Err(ApiError::new(Code::Forbidden, format!("{} lacks the permission {permission}", self.name)))
    }

    /// Whether the caller may know of this user.
    pub(crate) fn sees(&self, user: &User) -> bool {
        self.role.is_none() || self.role == user.role
    }

    pub(crate) fn sees_session(&self, state: &State, session: &Session) -> bool {
        self.role.is_none() || state.user(&session.username).is_some_and(|user| self.sees(user))
    }

    /// Who and from where, for the history.
    pub(crate) fn actor(&self) -> String {
        match self.source {
            Some(source) => format!("{} from {source}", self.name),
            None => self.name.clone(),
        }
    }
}

/// Where a request comes from, beside what it says.
pub(crate) struct Origin {
    source: Option<SocketAddr>,
    certificate: Option<CertificateName>,
    local: Option<LocalUser>,
}

impl Origin {
    pub(crate) fn of(extensions: &http::Extensions) -> Origin {
        let source = extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0);
        Origin { source, certificate: extensions.get().cloned(), local: extensions.get().copied() }
    }
}

/// Parts of what `Caller::actor` made: who, and from where if an outside caller.
pub(crate) fn split_actor(actor: &str) -> (&str, &str) {
    match actor.rsplit_once(" from ") {
        Some((who, source)) if source.parse::<SocketAddr>().is_ok() => (who, source),
        _ => (actor, ""),
    }
}

impl Service {
    /// Judged behind a read barrier: a token revoked through any node is refused at its next call, and none is refused because this
    /// node lags. Only a verb that must answer without a quorum is judged by what is here.
    pub(crate) async fn identify(
        &self,
        headers: &http::HeaderMap,
        origin: &Origin,
        verb: Option<Verb>,
    ) -> Result<Caller, ApiError> {
        let source = origin.source;
        let credential = match (access::credential(headers), &origin.certificate) {
            (Some(credential), _) => credential,
            (None, _) if verb == Some(Verb::Login) => return Err(refused(PASSWORD_NEEDED)),
            (None, Some(name)) => {
                let judge = self.judge(verb).await?;
                return judge.says(by_certificate(&judge.state, &name.0, source));
            }
            (None, None) if origin.local.is_some() => {
                self.judge(verb).await?;
                let user = origin.local.map_or(0, |user| user.0);
                return Ok(local(user, self.cluster.node()));
            }
            (None, None) => {
                let text = "a token is needed (Authorization: Bearer TOKEN), or a client certificate where the listener takes them";
                return Err(refused(text));
            }
        };
        match (credential, verb) {
            (Credential::Basic(pair), Some(Verb::Login)) => self.by_password(pair, source).await,
            (_, Some(Verb::Login)) => Err(refused(PASSWORD_NEEDED)),
            (Credential::Basic(_), _) => {
                Err(refused("a password is taken by GET /api/v2/token alone: use the token that it gives"))
            }
            (Credential::Bearer(token), verb) => {
                let judge = self.judge(verb).await?;
                let state = self.founded_state().await?;
                judge.says(by_token(&state, token, source))
            }
            (Credential::ApiKey(text), verb) => {
                let judge = self.judge(verb).await?;
                judge.says(by_api_key(&judge.state, text, source))
            }
        }
    }

    /// The caller as it would be let in now, by what this node has applied: for streams that go on. It may have another role.
    pub(crate) fn again(&self, caller: &Caller, verb: Verb) -> Result<Caller, ApiError> {
        let state = self.local_state();
        let now = match (&caller.token, &caller.admin) {
            (Some(token), admin) => {
                let row = state.token_by_hash(&token.hash).filter(|row| row.name == token.name);
                let row = row.ok_or_else(|| refused("the token was revoked"))?;
                holder(&state, row, admin.as_ref(), caller.source)?
            }
            (None, Some(name)) => {
                let admin = state.kept::<AdminSpec>(name);
                let admin = admin.filter(|row| row.spec.status == Status::Enabled && admits(row, caller.source));
                of_admin(admin.ok_or_else(|| refused("the admin is gone"))?, None, caller.source)
            }
            (None, None) => caller.clone(),
        };
        now.may(verb)?;
        Ok(now)
    }

    /// What a caller is judged by.
    async fn judge(&self, verb: Option<Verb>) -> Result<Judge, ApiError> {
        let unproven = match verb.filter(|verb| verb.answers_without_quorum()) {
            Some(verb) => {
                let barrier = self.cluster.barrier(STATUS_BARRIER).await;
                barrier.err().map(|error| (verb, ApiError::from(error)))
            }
            None => {
                self.cluster.barrier(DEADLINE).await?;
                None
            }
        };
        Ok(Judge { state: self.cluster.state(), unproven })
    }

    /// The state, behind the first token of a new cluster: its founder answers before it has put what `init` made, and a new
    /// node before it has applied anything.
    async fn founded_state(&self) -> Result<Arc<State>, ApiError> {
        let mut applied = self.cluster.applied();
        let founded = async {
            loop {
                let state = self.cluster.state();
                if state.tokens().next().is_some() || state.secrets().next().is_some() {
                    return Some(state);
                }
                applied.changed().await.ok()?;
            }
        };
        let state = tokio::time::timeout(DEADLINE, founded).await.ok().flatten();
        state.ok_or_else(|| {
            ApiError::new(Code::Unavailable, "the cluster is being set up, no token is known yet: try again")
        })
    }

    /// Costs the same for admins that do not exist. Failures are counted by source and by name.
    async fn by_password(&self, pair: &str, source: Option<SocketAddr>) -> Result<Caller, ApiError> {
        let (name, password) = basic(pair)?;
        let ip = source.map(|source| source.ip());
        let attempt = self.throttle.admit(ip, &name).map_err(|wait| {
            // At most a minute.
            let retry_after_s = wait.as_millis().div_ceil(1_000).max(1) as u16;
            let text = format!("too many failed logins: try again in {retry_after_s} s");
            ApiError { retry_after_s, ..ApiError::new(Code::TooMany, text) }
        })?;
        self.cluster.barrier(DEADLINE).await?;
        // From here on it costs, whoever hangs up.
        attempt.counts();
        let state = self.cluster.state();
        let found = Name::parse(&name).ok().and_then(|name| state.kept::<AdminSpec>(&name).cloned());
        let admin = found.filter(|row| row.spec.status == Status::Enabled && admits(row, source));
        let stored = admin.as_ref().and_then(|row| row.spec.password_hash.as_deref());
        let revision = admin.as_ref().map_or(0, |row| row.revision);
        match (self.verifier.verify(&name, revision, stored, &Secret::from(password)).await, &admin) {
            (Verdict::Right, Some(row)) => {
                self.throttle.succeeded(ip, &name);
                let caller = of_admin(row, None, source);
                Ok(Caller { verified: Some(row.revision), ..caller })
            }
            (Verdict::Busy, _) => {
                self.throttle.forgive(ip, &name);
                Err(ApiError::new(Code::TooMany, "too many logins are being verified: try again"))
            }
            _ => {
                tracing::info!(sender = "login_admin", username = %name, ip = ?ip, "login refused");
                Err(refused("unknown admin or wrong password"))
            }
        }
    }
}

/// A state to judge by, and whether it may be older than what was acknowledged.
struct Judge {
    state: Arc<State>,
    /// No quorum has shown that it is not, for this verb.
    unproven: Option<(Verb, ApiError)>,
}

impl Judge {
    /// Nobody is refused because this node lags: it may not know yet what the caller was given.
    fn says(&self, found: Result<Caller, ApiError>) -> Result<Caller, ApiError> {
        let Some((verb, why)) = &self.unproven else { return found };
        let admitted = found.and_then(|caller| caller.may(*verb).map(|()| caller));
        admitted.map_err(|refusal| {
            tracing::debug!(%refusal, %why, "a caller cannot be judged without a quorum");
            let text = format!("{why}; this node does not know the caller and may lag: ask another one, or try again");
            ApiError { message: text, ..why.clone() }
        })
    }
}

/// Whoever owns a node's data folder owns the node.
fn local(user: u32, node: NodeId) -> Caller {
    Caller {
        name: format!("uid {user} on node {node}"),
        permissions: vec!["*".to_owned()],
        role: None,
        admin: None,
        token: None,
        verified: None,
        source: None,
    }
}

fn refused(text: impl Into<String>) -> ApiError {
    ApiError::new(Code::Unauthenticated, text)
}

fn basic(pair: &str) -> Result<(String, String), ApiError> {
    let decoded = base64::engine::general_purpose::STANDARD.decode(pair).ok();
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = text.as_deref().and_then(|text| text.split_once(':'));
    let (name, password) = pair.ok_or_else(|| refused("Authorization: Basic: not the base64 of NAME:PASSWORD"))?;
    Ok((name.to_owned(), password.to_owned()))
}

/// A verified certificate speaks for the admin of its name, or for the token of its name: deleting or narrowing that revokes it.
fn by_certificate(state: &State, name: &str, source: Option<SocketAddr>) -> Result<Caller, ApiError> {
    let admin = Name::parse(name).ok().and_then(|name| state.kept::<AdminSpec>(&name));
    if let Some(row) = admin.filter(|row| row.spec.status == Status::Enabled && admits(row, source)) {
        return Ok(of_admin(row, None, source));
    }
    let token = state.token(name).filter(|row| row.kind == TokenKind::Standing && admin.is_none());
    let nobody = || refused(format!("the client certificate names {name:?}, which is nobody here"));
    let caller = holder(state, token.ok_or_else(nobody)?, None, source)?;
    Ok(Caller { name: format!("admin certificate {name}"), ..caller })
}

fn by_token(state: &State, text: &str, source: Option<SocketAddr>) -> Result<Caller, ApiError> {
    let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let row = state.token_by_hash(&hash).ok_or_else(|| refused("unknown token"))?;
    holder(state, row, None, source)
}

/// `ID.KEY`, or `ID.KEY.ADMIN` for a key that names no admin itself.
fn by_api_key(state: &State, text: &str, source: Option<SocketAddr>) -> Result<Caller, ApiError> {
    let mut parts = text.splitn(3, '.');
    let (id, key, admin) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next());
    let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
    let row = Name::parse(id).ok().and_then(|id| state.api_key(&id).cloned());
    let row = row.filter(|row| bool::from(row.hash.ct_eq(&hash))).ok_or_else(|| refused("unknown API key"))?;
    let admin = admin.map(Name::parse).transpose().map_err(|_| refused("unknown API key"))?;
    holder(state, &row, admin.as_ref(), source)
}

/// Whom a token makes of its holder. `named`: the admin that the caller says an API key acts for.
fn holder(
    state: &State,
    row: &Arc<Token>,
    named: Option<&Name>,
    source: Option<SocketAddr>,
) -> Result<Caller, ApiError> {
    if row.expires_at != 0 && row.expires_at <= wall_ms() {
        return Err(refused(format!("token {} has expired", row.name)));
    }
    let admin = match &row.kind {
        TokenKind::Standing => {
            return Ok(Caller {
                name: format!("admin token {}", row.name),
                permissions: row.permissions.clone(),
                role: None,
                admin: None,
                token: Some(Arc::clone(row)),
                verified: None,
                source,
            });
        }
        TokenKind::Login { admin } => admin,
        TokenKind::ApiKey { admin: Some(admin), .. } if named.is_none_or(|named| named == admin) => admin,
        TokenKind::ApiKey { admin: Some(admin), .. } => {
            return Err(refused(format!("the API key acts for {admin} alone")));
        }
        TokenKind::ApiKey { admin: None, .. } => {
            named.ok_or_else(|| refused("the API key names no admin: send it as ID.KEY.ADMIN"))?
        }
    };
    let found = state.kept::<AdminSpec>(admin).filter(|found| found.spec.status == Status::Enabled);
    let found = found.ok_or_else(|| refused(format!("admin {admin} does not exist or is disabled")))?;
    if matches!(row.kind, TokenKind::ApiKey { admin: None, .. }) && !found.spec.allow_api_key_auth {
        return Err(refused(format!("admin {admin} does not allow API keys (filters.allow_api_key_auth)")));
    }
    if !admits(found, source) {
        return Err(refused(format!("admin {admin} may not come from there (filters.allow_list)")));
    }
    Ok(of_admin(found, Some(Arc::clone(row)), source))
}

fn of_admin(admin: &Admin, token: Option<Arc<Token>>, source: Option<SocketAddr>) -> Caller {
    Caller {
        name: format!("admin {}", admin.name),
        permissions: admin.spec.permissions.clone(),
        role: admin.spec.role.clone(),
        admin: Some(admin.name.clone()),
        token,
        verified: None,
        source,
    }
}

fn admits(admin: &Admin, source: Option<SocketAddr>) -> bool {
    let within = |ip: IpAddr| admin.spec.allow_list.iter().any(|network| checks::contains(network, ip));
    admin.spec.allow_list.is_empty() || source.is_some_and(|source| within(source.ip()))
}
