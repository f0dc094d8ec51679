//! Passwords: what a hash may cost, what is remembered, what happens when too many come at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flotilla_auth::password::check_hash;
use flotilla_auth::*;

fn verifier(queue: usize) -> Verifier {
    Verifier::new(VerifierConfig { workers: 1, queue, ..VerifierConfig::default() })
}

#[test]
fn a_hash_verifies_its_password_and_no_other() {
    let hash = hash_password(b"secret").unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    assert_ne!(hash, hash_password(b"secret").unwrap(), "salted");
    assert_eq!(verify_password(&hash, b"secret"), Ok(true));
    assert_eq!(verify_password(&hash, b"Secret"), Ok(false));
}

#[test]
fn empty_and_absurdly_long_passwords_are_not_hashed() {
    assert_eq!(hash_password(b""), Err(HashError::Empty));
    assert!(hash_password(&[b'x'; 1024]).is_ok());
    assert_eq!(hash_password(&[b'x'; 1025]), Err(HashError::TooLong));
}

#[test]
fn what_a_stored_hash_asks_for_is_bounded() {
    let good = hash_password(b"secret").unwrap();
    let tail = good.rsplitn(3, '$').take(2).collect::<Vec<_>>();
    let with = |head: &str| format!("{head}${}${}", tail[1], tail[0]);
    assert_eq!(check_hash(&with("$argon2id$v=19$m=19456,t=2,p=1")), Ok(()));
    for costly in ["m=1048576,t=2,p=1", "m=19456,t=11,p=1", "m=19456,t=2,p=17"] {
        assert_eq!(check_hash(&with(&format!("$argon2id$v=19${costly}"))), Err(HashError::TooCostly), "{costly}");
    }
    for other in
        ["", "plain", "$2b$12$abc", "$argon2i$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA", "$argon2id$v=19$m=8,t=1,p=1"]
    {
        assert_eq!(check_hash(other), Err(HashError::NotArgon2id), "{other}");
    }
    assert_eq!(check_hash(&good.replace("argon2id", "argon2d")), Err(HashError::NotArgon2id));
}

#[tokio::test]
async fn the_verifier_tells_right_from_wrong() {
    let verifier = verifier(64);
    let hash = hash_password(b"secret").unwrap();
    assert_eq!(verifier.verify("demo", 1, Some(&hash), &"secret".into()).await, Verdict::Right);
    assert_eq!(verifier.verify("demo", 1, Some(&hash), &"other".into()).await, Verdict::Wrong);
    assert_eq!(verifier.verify("demo", 1, None, &"secret".into()).await, Verdict::Wrong);
    assert_eq!(verifier.verify("demo", 2, Some("damaged"), &"secret".into()).await, Verdict::Wrong);
    assert_eq!(verifier.verify("demo", 1, Some(&hash), &Secret::new(vec![b'x'; 5000])).await, Verdict::Wrong);
}

#[tokio::test]
async fn a_right_password_is_remembered_for_that_revision_of_that_user_only() {
    let verifier = verifier(64);
    let hash = hash_password(b"secret").unwrap();
    assert_eq!(verifier.verify("demo", 7, Some(&hash), &"secret".into()).await, Verdict::Right);
    // Remembered: the stored text is not looked at.
    assert_eq!(verifier.verify("demo", 7, Some("damaged"), &"secret".into()).await, Verdict::Right);
    assert_eq!(verifier.verify("demo", 8, Some("damaged"), &"secret".into()).await, Verdict::Wrong);
    assert_eq!(verifier.verify("dem", 7, Some("damaged"), &"secret".into()).await, Verdict::Wrong);
    assert_eq!(verifier.verify("demo", 7, Some("damaged"), &"Secret".into()).await, Verdict::Wrong);
    assert_eq!(verifier.verify("demo", 7, None, &"secret".into()).await, Verdict::Wrong, "a user that may not log in");
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_is_forgotten_after_a_minute() {
    let verifier = verifier(64);
    let hash = hash_password(b"secret").unwrap();
    assert_eq!(verifier.verify("demo", 7, Some(&hash), &"secret".into()).await, Verdict::Right);
    tokio::time::advance(Duration::from_secs(59)).await;
    assert_eq!(verifier.verify("demo", 7, Some("damaged"), &"secret".into()).await, Verdict::Right);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(verifier.verify("demo", 7, Some("damaged"), &"secret".into()).await, Verdict::Wrong);
}

#[tokio::test]
async fn more_logins_than_the_queue_holds_are_told_to_try_later() {
    let verifier = Arc::new(verifier(2));
    let hash = hash_password(b"secret").unwrap();
    let wrong: Secret = "wrong".into();
    let all = (0..10).map(|_| verifier.verify("demo", 1, Some(&hash), &wrong));
    let verdicts = futures_join(all).await;
    let busy = verdicts.iter().filter(|verdict| **verdict == Verdict::Busy).count();
    assert_eq!(busy, 7, "one at work, two in the queue");
    assert_eq!(verifier.verify("demo", 1, Some(&hash), &wrong).await, Verdict::Wrong, "places are given back");
}

async fn futures_join<F: Future<Output = Verdict>>(all: impl Iterator<Item = F>) -> Vec<Verdict> {
    let mut pending: Vec<_> = all.map(Box::pin).collect();
    let mut done = Vec::new();
    std::future::poll_fn(|context| {
        pending.retain_mut(|one| match one.as_mut().poll(context) {
            std::task::Poll::Ready(verdict) => {
                done.push(verdict);
                false
            }
            std::task::Poll::Pending => true,
        });
        if pending.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done
}

#[tokio::test]
async fn an_unknown_user_costs_about_what_a_wrong_password_costs() {
    let verifier = verifier(64);
    let hash = hash_password(b"secret").unwrap();
    let mut known = Duration::ZERO;
    let mut unknown = Duration::ZERO;
    for _ in 0..8 {
        let begun = Instant::now();
        verifier.verify("demo", 1, Some(&hash), &"wrong".into()).await;
        known += begun.elapsed();
        let begun = Instant::now();
        verifier.verify("nobody", 0, None, &"wrong".into()).await;
        unknown += begun.elapsed();
    }
    let ratio = known.as_secs_f64() / unknown.as_secs_f64();
    assert!(
        (0.3..3.0).contains(&ratio),
        "{known:?} and {unknown:?}: the same work, on a machine that does other things too"
    );
}

#[test]
fn a_secret_is_not_printed() {
    assert_eq!(format!("{:?}", Secret::from("hunter2")), "Secret");
}
