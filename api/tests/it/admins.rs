//! Admins with passwords: logins, tokens that act for them, keys, and the end of all that.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use base64::Engine;
use flotilla_proto::admin::v1;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tonic_types::StatusExt;

use crate::fixture::Server;
use crate::http::Answer;

/// Hashed once: hashing costs.
const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0$5TZ+mW+AO1BlZwUWNl8M0gQQ6hY4rPpr0rT3zpMmWXk";

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}")))
}

impl Server {
    async fn add_admin(&self, name: &str, change: Value) {
        let mut body = json!({"username": name, "password": "secret", "permissions": ["*"]});
        body.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        let made = self.send(Method::POST, "/admins", &body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    }

    async fn log_in_as(&self, name: &str, password: &str) -> Answer {
        self.bare(Method::GET, "/api/v2/token", &[("authorization", &basic(name, password))], Body::empty()).await
    }

    async fn admin_token(&self, name: &str) -> String {
        let answer = self.log_in_as(name, "secret").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()["access_token"].as_str().expect("a token").to_owned()
    }

    async fn with(&self, header: (&str, &str), method: Method, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        self.bare(method, &format!("/api/v2{path}"), &[header], body).await
    }

    async fn as_bearer(&self, token: &str, method: Method, path: &str, body: Value) -> Answer {
        self.with(("authorization", &format!("Bearer {token}")), method, path, body).await
    }
}

#[tokio::test]
async fn a_login_answers_in_sftpgos_words_and_its_token_is_taken_by_both_interfaces() {
    let server = Server::start().await;
    server.add_admin("ann", json!({})).await;
    let answer = server.log_in_as("ann", "secret").await;
    let body = answer.json();
    assert_eq!(body.as_object().expect("an object").len(), 2, "{body}");
    let expires = body["expires_at"].as_str().expect("a time");
    assert!(expires.len() == 20 && expires.ends_with('Z') && &expires[10..11] == "T", "{expires}");
    assert_eq!(answer.header("cache-control"), "no-store");
    let token = body["access_token"].as_str().expect("a token");
    assert_eq!(server.as_bearer(token, Method::GET, "/users", Value::Null).await.status, StatusCode::OK);
    let mut users = v1::users_client::UsersClient::new(server.channel.clone());
    let mut request = tonic::Request::new(v1::ListUsersRequest::default());
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("ASCII"));
    users.list_users(request).await.expect("the same token");
    let state = flotilla_cluster::Cluster::state(&*server.cluster);
    assert!(state.tokens().all(|row| row.hash != token.as_bytes()[..32]), "only a hash is kept");
}

#[tokio::test]
async fn a_wrong_name_or_password_or_a_disabled_admin_is_refused_alike() {
    let server = Server::start().await;
    server.add_admin("ann", json!({})).await;
    server.add_admin("off", json!({"status": 0})).await;
    server.add_admin("away", json!({"filters": {"allow_list": ["192.0.2.0/24"]}})).await;
    let mut texts = Vec::new();
    for (name, password) in [("ann", "wrong"), ("nobody", "secret"), ("off", "secret"), ("away", "secret"), ("", "")] {
        let answer = server.log_in_as(name, password).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{name}");
        assert!(answer.header("www-authenticate").contains("Basic"));
        texts.push(answer.json()["message"].clone());
    }
    assert!(texts.iter().all(|text| *text == "unknown admin or wrong password"), "{texts:?}");
    for header in ["Basic !", "Basic bm9jb2xvbg==", "Bearer x", "Digest x", "Basic"] {
        let answer = server.with(("authorization", header), Method::GET, "/token", Value::Null).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{header}");
    }
    let other = server.with(("authorization", &basic("ann", "secret")), Method::GET, "/users", Value::Null).await;
    assert_eq!(other.status, StatusCode::UNAUTHORIZED, "a password opens nothing but the login");
    assert!(other.json()["message"].as_str().expect("a text").contains("/token"));
}

#[tokio::test]
async fn guesses_are_slowed_down_and_told_when_to_come_back() {
    let server = Server::start().await;
    server.add_admin("ann", json!({})).await;
    let mut last = server.log_in_as("ann", "wrong").await;
    for guess in 0..30 {
        if last.status != StatusCode::UNAUTHORIZED {
            break;
        }
        last = server.log_in_as(&format!("guess{guess}"), "wrong").await;
    }
    assert_eq!(last.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(last.json()["code"].as_str(), Some("too_many"));
    assert!(last.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1));
    let right = server.log_in_as("ann", "secret").await;
    assert_eq!(right.status, StatusCode::TOO_MANY_REQUESTS, "nothing is verified meanwhile");
    server.get("/users").await.json();

    // The same over gRPC, and who waits is told the real wait.
    let mut tokens = v1::tokens_client::TokensClient::new(server.channel.clone());
    let mut login = async || {
        let mut request = tonic::Request::new(v1::LoginRequest { hash: vec![1; 32], ..Default::default() });
        request.metadata_mut().insert("authorization", basic("ann", "secret").parse().expect("ASCII"));
        tokens.login(request).await.map(|_| ())
    };
    let wait = async || {
        // Each guess that is let through doubles the wait.
        let answer = server.log_in_as("ann", "wrong").await;
        (answer.status == StatusCode::TOO_MANY_REQUESTS)
            .then(|| answer.header("retry-after").parse::<u64>().expect("seconds"))
    };
    let longer = tokio::time::timeout(std::time::Duration::from_secs(30), async {
        loop {
            match wait().await {
                // Long enough that it is not over before it is asked about.
                Some(seconds) if seconds > 3 => return seconds,
                Some(seconds) => tokio::time::sleep(std::time::Duration::from_secs(seconds)).await,
                None => {}
            }
        }
    });
    let seconds = longer.await.expect("a longer wait");
    let status = login().await.expect_err("slowed down");
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    let retry = status.get_details_retry_info().and_then(|info| info.retry_delay).expect("when").as_secs();
    assert!(retry > 1 && retry <= seconds, "{retry} s over gRPC, {seconds} s over REST");
}

#[tokio::test]
async fn disabling_demoting_or_deleting_an_admin_acts_on_the_next_call() {
    let server = Server::start().await;
    server.add_admin("ann", json!({})).await;
    let token = server.admin_token("ann").await;
    let list = async || server.as_bearer(&token, Method::GET, "/users", Value::Null).await.status;
    assert_eq!(list().await, StatusCode::OK);
    let demoted = json!({"permissions": ["view_conns"]});
    assert_eq!(server.send(Method::PUT, "/admins/ann", &demoted).await.status, StatusCode::OK);
    assert_eq!(list().await, StatusCode::FORBIDDEN);
    let restored = json!({"permissions": ["view_users"]});
    server.send(Method::PUT, "/admins/ann", &restored).await;
    assert_eq!(list().await, StatusCode::OK, "the same token");
    server.send(Method::PUT, "/admins/ann", &json!({"permissions": ["view_users"], "status": 0})).await;
    assert_eq!(list().await, StatusCode::UNAUTHORIZED);
    server.send(Method::PUT, "/admins/ann", &restored).await;
    assert_eq!(list().await, StatusCode::UNAUTHORIZED, "enabling again brings no old token back");
    let token = server.admin_token("ann").await;
    assert_eq!(server.call(Method::DELETE, "/admins/ann", &[], Body::empty()).await.status, StatusCode::OK);
    server.add_admin("ann", json!({})).await;
    let old = server.as_bearer(&token, Method::GET, "/users", Value::Null).await.status;
    assert_eq!(old, StatusCode::UNAUTHORIZED, "a token is not that of a namesake");
}

#[tokio::test]
async fn a_new_password_ends_the_tokens_of_the_old_one() {
    let server = Server::start().await;
    server.add_admin("ann", json!({})).await;
    let token = server.admin_token("ann").await;
    let request = v1::UpdateAdminRequest {
        admin: Some(v1::Admin { username: "ann".into(), ..Default::default() }),
        update_mask: Some(flotilla_proto::FieldMask { paths: vec!["password".into()] }),
        password: Some("another".into()),
        ..Default::default()
    };
    server.admins().update_admin(request).await.expect("changed");
    assert_eq!(server.as_bearer(&token, Method::GET, "/users", Value::Null).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(server.log_in_as("ann", "secret").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(server.log_in_as("ann", "another").await.status, StatusCode::OK);
}

#[tokio::test]
async fn logging_out_ends_the_token_of_the_login_and_no_other() {
    let server = Server::start().await;
    server.add_admin("ann", json!({})).await;
    let (one, two) = (server.admin_token("ann").await, server.admin_token("ann").await);
    assert_eq!(server.as_bearer(&one, Method::GET, "/logout", Value::Null).await.status, StatusCode::OK);
    assert_eq!(server.as_bearer(&one, Method::GET, "/users", Value::Null).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(server.as_bearer(&two, Method::GET, "/users", Value::Null).await.status, StatusCode::OK);
    assert_eq!(server.get("/logout").await.status, StatusCode::BAD_REQUEST, "a standing token is deleted by name");
}

#[tokio::test]
async fn a_login_over_grpc_sends_the_hash_of_a_token_of_its_own() {
    let server = Server::start().await;
    server.add_admin("ann", json!({})).await;
    let mut tokens = v1::tokens_client::TokensClient::new(server.channel.clone());
    let hash = Sha256::digest("my own").to_vec();
    let mut request = tonic::Request::new(v1::LoginRequest { hash, ..Default::default() });
    request.metadata_mut().insert("authorization", basic("ann", "secret").parse().expect("ASCII"));
    let answer = tokens.login(request).await.expect("logged in").into_inner();
    assert!(answer.expires_at > 1_700_000_000_000);
    assert_eq!(server.as_bearer("my own", Method::GET, "/users", Value::Null).await.status, StatusCode::OK);
    let mut out = tonic::Request::new(v1::LogoutRequest::default());
    out.metadata_mut().insert("authorization", "Bearer my own".parse().expect("ASCII"));
    tokens.logout(out).await.expect("logged out");
    assert_eq!(server.as_bearer("my own", Method::GET, "/users", Value::Null).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_admin_cannot_lock_themselves_out() {
    let server = Server::start().await;
    server.add_admin("ann", json!({})).await;
    let token = server.admin_token("ann").await;
    let put = async |body: Value| server.as_bearer(&token, Method::PUT, "/admins/ann", body).await;
    for (body, why) in [
        (json!({"permissions": ["*"], "status": 0}), "disable"),
        (json!({"permissions": ["view_users"]}), "permissions"),
    ] {
        let answer = put(body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{why}");
        assert!(answer.json()["message"].as_str().expect("a text").contains(why), "{}", answer.text);
    }
    let deleted = server.as_bearer(&token, Method::DELETE, "/admins/ann", Value::Null).await;
    assert_eq!(deleted.status, StatusCode::BAD_REQUEST);
    assert_eq!(put(json!({"permissions": ["*"], "email": "a@example.org"})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_admin_has_sftpgos_fields_and_a_bad_one_is_named() {
    let server = Server::start().await;
    let body = json!({
        "username": "ann", "password": HASH, "permissions": ["view_users"], "email": "a@example.org",
        "filters": {"allow_list": ["10.0.0.0/8"], "allow_api_key_auth": true, "totp_config": {"enabled": false}},
    });
    let made = server.send(Method::POST, "/admins", &body).await;
    assert_eq!((made.status, made.header("location")), (StatusCode::CREATED, "/api/v2/admins/ann"), "{}", made.text);
    let mut shown = server.get("/admins/ann").await.json();
    for changing in ["id", "revision", "created_at", "updated_at"] {
        assert!(shown[changing].as_u64().is_some_and(|number| number > 0), "{changing}");
        shown.as_object_mut().expect("an object").remove(changing);
    }
    let expected = json!({
        "username": "ann", "status": 1, "permissions": ["view_users"], "has_password": true,
        "email": "a@example.org", "filters": {
            "allow_list": ["10.0.0.0/8"], "allow_api_key_auth": true, "totp_config": {"enabled": false}, "preferences": {},
        },
    });
    assert_eq!(shown, expected);
    let bad = [
        (json!({"permissions": ["fly"]}), "permissions"),
        (json!({"permissions": []}), "permissions"),
        (json!({"role": "none"}), "role"),
        (json!({"role": "a/b"}), "role"),
        (json!({"filters": {"allow_list": ["10.0.0.0/99"]}}), "filters.allow_list"),
        (json!({"filters": {"require_two_factor": true}}), "filters.require_two_factor"),
        (json!({"groups": [{"name": "g"}]}), "groups"),
        (json!({"status": 7}), "status"),
        (json!({"username": "a b"}), "username"),
        (json!({"password": "$2a$10$abcdefghijklmnopqrstuv"}), "password"),
        (json!({"nothing": 1}), "nothing"),
    ];
    for (change, named) in bad {
        let mut body = json!({"username": "bob", "permissions": ["view_users"]});
        body.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        let answer = server.send(Method::POST, "/admins", &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{named}: {}", answer.text);
        assert!(answer.json()["message"].as_str().expect("a text").contains(named), "{named}: {}", answer.text);
    }
}

#[tokio::test]
async fn an_api_key_acts_for_its_admin_or_for_one_who_allows_it() {
    let server = Server::start().await;
    server.add_admin("ann", json!({"permissions": ["view_users"]})).await;
    let make = async |body: Value| server.send(Method::POST, "/apikeys", &body).await;
    let made = make(json!({"name": "ci", "scope": 1, "admin": "ann"})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let key = made.json()["key"].as_str().expect("a key").to_owned();
    let (id, secret) = key.split_once('.').expect("ID.KEY");
    assert_eq!(made.header("x-object-id"), id);
    let list = async |header: &str| server.with(("x-sftpgo-api-key", header), Method::GET, "/users", Value::Null).await;
    assert_eq!(list(&key).await.status, StatusCode::OK);
    assert_eq!(list(&format!("{key}.ann")).await.status, StatusCode::OK);
    assert_eq!(list(&format!("{key}.bob")).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(list(&format!("{id}.guess")).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(list("none.guess").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(server.as_bearer(secret, Method::GET, "/users", Value::Null).await.status, StatusCode::OK, "as bearer");
    let post = server.with(("x-sftpgo-api-key", &key), Method::POST, "/users", json!({})).await;
    assert_eq!(post.status, StatusCode::FORBIDDEN, "no more than the admin may");
    assert!(!server.get("/apikeys").await.text.contains(secret), "shown once");

    let free = make(json!({"name": "any", "scope": 1})).await.json()["key"].as_str().expect("a key").to_owned();
    assert_eq!(list(&free).await.status, StatusCode::UNAUTHORIZED, "for whom?");
    assert_eq!(list(&format!("{free}.ann")).await.status, StatusCode::UNAUTHORIZED, "not allowed");
    let allowed = json!({"permissions": ["view_users"], "filters": {"allow_api_key_auth": true}});
    server.send(Method::PUT, "/admins/ann", &allowed).await;
    assert_eq!(list(&format!("{free}.ann")).await.status, StatusCode::OK);

    let expired = json!({"name": "ci", "scope": 1, "admin": "ann", "expires_at": 1});
    assert_eq!(server.send(Method::PUT, &format!("/apikeys/{id}"), &expired).await.status, StatusCode::OK);
    assert_eq!(list(&key).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(make(json!({"name": "user", "scope": 2})).await.status, StatusCode::BAD_REQUEST);
    let deleted = server.call(Method::DELETE, &format!("/apikeys/{id}"), &[], Body::empty()).await;
    assert_eq!(deleted.status, StatusCode::OK);
    assert_eq!(server.get(&format!("/apikeys/{id}")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_repeated_request_for_a_secret_answers_that_it_exists_and_is_not_shown_again() {
    let server = Server::start().await;
    server.add_admin("ann", json!({})).await;
    let id = uuid::Uuid::now_v7().to_string();
    let headers = [("flotilla-request-id", id.as_str())];
    let body = json!({"name": "ci", "scope": 1, "admin": "ann"}).to_string();
    let first = server.call(Method::POST, "/apikeys", &headers, body.clone()).await;
    assert_eq!((first.status, first.header("flotilla-request-id")), (StatusCode::CREATED, id.as_str()));
    let again = server.call(Method::POST, "/apikeys", &headers, body).await;
    assert_eq!(again.status, StatusCode::CONFLICT, "{}", again.text);
    assert!(again.json()["message"].as_str().expect("a text").contains("not shown again"));
    assert_eq!(server.get("/apikeys").await.json().as_array().expect("a list").len(), 1);
    let login = uuid::Uuid::now_v7().to_string();
    let headers = [("authorization", basic("ann", "secret")), ("flotilla-request-id", login)];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, text)| (*name, text.as_str())).collect();
    assert_eq!(server.bare(Method::GET, "/api/v2/token", &headers, Body::empty()).await.status, StatusCode::OK);
    assert_eq!(server.bare(Method::GET, "/api/v2/token", &headers, Body::empty()).await.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn an_admin_with_a_role_sees_and_makes_only_users_of_it() {
    let server = Server::start().await;
    for role in ["east", "west"] {
        assert_eq!(server.send(Method::POST, "/roles", &json!({"name": role})).await.status, StatusCode::CREATED);
    }
    let all = json!(["add_users", "edit_users", "del_users", "view_users", "view_conns", "close_conns", "view_events"]);
    server.add_admin("ann", json!({"role": "east", "permissions": all})).await;
    let star = json!({"username": "x", "permissions": ["*"], "role": "east"});
    assert_eq!(server.send(Method::POST, "/admins", &star).await.status, StatusCode::BAD_REQUEST);
    let token = server.admin_token("ann").await;
    let user = |name: &str, role: &str| json!({"username": name, "permissions": {"/": ["*"]}, "role": role});
    server.send(Method::POST, "/users", &user("w", "west")).await;
    server.send(Method::POST, "/users", &user("n", "")).await;
    let made = server.as_bearer(&token, Method::POST, "/users", user("e", "")).await;
    assert_eq!((made.status, &made.json()["role"]), (StatusCode::CREATED, &json!("east")));
    let foreign = server.as_bearer(&token, Method::POST, "/users", user("f", "west")).await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN);
    let listed = server.as_bearer(&token, Method::GET, "/users", Value::Null).await.json();
    assert_eq!(listed.as_array().expect("a list").len(), 1);
    for (method, path, body) in [
        (Method::GET, "/users/w", Value::Null),
        (Method::PUT, "/users/n", user("n", "")),
        (Method::DELETE, "/users/w", Value::Null),
    ] {
        let answer = server.as_bearer(&token, method.clone(), path, body).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}: {}", answer.text);
    }
    let (theirs, ours) = (server.log_in("w"), server.log_in("e"));
    let rows = server.as_bearer(&token, Method::GET, "/connections", Value::Null).await.json();
    assert_eq!((rows.as_array().expect("a list").len(), &rows[0]["connection_id"]), (1, &json!(ours.to_string())));
    let killed = server.as_bearer(&token, Method::DELETE, &format!("/connections/{theirs}"), Value::Null).await;
    assert_eq!(killed.status, StatusCode::NOT_FOUND);
    assert_eq!(server.as_bearer(&token, Method::GET, "/events", Value::Null).await.status, StatusCode::FORBIDDEN);
    let changed = server.as_bearer(&token, Method::PUT, "/users/e", user("e", "west")).await;
    assert_eq!(changed.status, StatusCode::FORBIDDEN, "not given away");
    assert_eq!(server.as_bearer(&token, Method::DELETE, "/users/e", Value::Null).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_admin_with_a_role_gives_no_home_beyond_it() {
    let server = Server::start().await;
    for role in ["east", "west"] {
        assert_eq!(server.send(Method::POST, "/roles", &json!({"name": role})).await.status, StatusCode::CREATED);
    }
    let held = json!(["add_users", "edit_users", "view_users"]);
    server.add_admin("ann", json!({"role": "east", "permissions": held})).await;
    let token = server.admin_token("ann").await;
    let user = |name: &str, role: &str, home: &str| json!({"username": name, "permissions": {"/": ["*"]}, "role": role, "home_dir": home});
    for (name, role, home) in [("w", "west", "/srv/files/deep/west"), ("acme", "east", "/srv/files/acme")] {
        assert_eq!(server.send(Method::POST, "/users", &user(name, role, home)).await.status, StatusCode::CREATED);
    }
    assert_eq!(
        server.as_bearer(&token, Method::POST, "/users", user("e", "", "/srv/files/acme/e")).await.status,
        StatusCode::CREATED
    );
    for home in ["/srv/files", "/srv/files/deep", "/srv/files/deep/west", "/srv/files/deep/west/x", "/srv/files/any"] {
        for (method, path, name) in [(Method::POST, "/users", "x"), (Method::PUT, "/users/e", "e")] {
            let answer = server.as_bearer(&token, method.clone(), path, user(name, "", home)).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {home}: {}", answer.text);
            let message = answer.json()["message"].as_str().expect("a text").to_owned();
            assert!(message.starts_with("home_dir: "), "{message}");
        }
    }
    assert_eq!(server.get("/users/e").await.json()["home_dir"], "/srv/files/acme/e");
    // Another storage lies in the first one under that name.
    let whole = json!({"username": "cold", "permissions": {"/": ["*"]}});
    let answer = server.as_bearer(&token, Method::POST, "/users", whole).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text);
}

#[tokio::test]
async fn what_concerns_the_users_of_all_roles_is_not_for_an_admin_with_a_role() {
    use flotilla_api::access::{CALLS, PERMISSIONS, ROUTES, Verb};
    let server = Server::start().await;
    assert_eq!(server.send(Method::POST, "/roles", &json!({"name": "east"})).await.status, StatusCode::CREATED);
    let held: Vec<&str> = PERMISSIONS.into_iter().filter(|name| *name != "*").collect();
    server.add_admin("ann", json!({"role": "east", "permissions": held})).await;
    let token = server.admin_token("ann").await;
    let judged = |verb: Verb| !matches!(verb, Verb::Login | Verb::Logout);
    for (path, verb) in CALLS.iter().filter(|(_, verb)| judged(*verb)) {
        let forbidden = verb.concerns_all_users() || verb.permission() == Some("*");
        let code = crate::access::call(&server, path, Some(&token)).await;
        assert_eq!(code == tonic::Code::PermissionDenied, forbidden, "{path}: {code:?}");
    }
    for (method, path, verb) in ROUTES.iter().filter(|(.., verb)| judged(*verb)) {
        let forbidden = verb.concerns_all_users() || verb.permission() == Some("*");
        let status = crate::access::route(&server, method, path, Some(&token)).await;
        assert_eq!(status == StatusCode::FORBIDDEN, forbidden, "{method} {path}: {status}");
    }
}
