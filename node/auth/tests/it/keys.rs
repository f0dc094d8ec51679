//! Public keys: lines of `authorized_keys` and wire blobs. The keys were made with OpenSSH 9.2's `ssh-keygen` for these tests.

use flotilla_auth::{InvalidKey, KeyKind, PublicKey};

const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK2OYVpIxoLECvCAHJNwTJ2qluH/68RivyRZIcCfbdIa demo@example";
const P256: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBLjQt84MXvQBzGaE/sdVMZOw1HdTe7BaQEfonN9yV11fqz8bDTz/rRBHznPMqqXZ05+63gJFXLK4D8kWZk/3X1M= demo@example";
const P384: &str = "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBPgkNvy0EGISeFaLPcCa6aDeybS7zS6aUPdzPm5zT0ys7/AersMpWj9YSmt34lpf3eQpDldyWzp0xywmthzjmzzfRLup8WVxDYhA0HvcVIBemaXBulJtiY5BcteShL4GIw== demo@example";
const P521: &str = "ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBABkGKsnCr4TTVuot2vs2dzMkmPD37rKz6ZmkHZappTzVwW3s6Y8nhzLcHmWgAv2u/D11xrCQBLeIdpA0g1OtpHsAgFovl353yzp+FS0Vel98W/RdQOjEpvG4Px8oqu2wlWK7HFn+9Ekf7BxQzqmzbcSjl2kncNzeu8bjZkLkdjoG+ujUw== demo@example";
const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDM2aK+Gr8B95jmyN0J0tkm39h7mEfSgSrmBy/57GWUGALdChmhsravAtj9m3/dXuzp0u82/6IGNaIMT4U29jv7teOQuR7VImNYHSw11d49mW3TkzfR5sLptF7QeJCrmYNP/yIUbRt1tXFcd/m0IJh7HK07lkamAG1itiTKG90973z68dp8pzMgZAReQhgJxMdf29fOANhbp2D5CsUWol60NOhVDCK7/XZvRBeGDGjeNilz6Hn31fqR0ezwjnRRIjHypHfOBQffXVdi6adr0LY6ITMzVSTCtnUaNmjhpx/ExmClIB3pDPVGoxzFrL1qvZfadHtvwvsXNa2qY9uVIjnN demo@example";
const RSA_1024: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC23gSeGMsAVNWC0+U6sJPbBcARNV+eDUwrZMiwffpoaSCK3aCsXm/Z/6V4T0Pfs3v3HySYPuShAdHIG10CVs4QFWfGQB031QsWSJXe85w7BnEJpc6N2DUBDPKh7UskG40b7Q9hFzGn3+ghbMalsF+MtZ6p1tLqyp4Ru8SG1/HWJw== demo@example";

#[test]
fn lines_of_authorized_keys_are_read() {
    for (line, kind) in [
        (ED25519, KeyKind::Ed25519),
        (P256, KeyKind::EcdsaP256),
        (P384, KeyKind::EcdsaP384),
        (P521, KeyKind::EcdsaP521),
        (RSA, KeyKind::Rsa),
    ] {
        let key = PublicKey::parse_line(line).unwrap();
        assert_eq!(key.kind(), kind);
        assert_eq!(PublicKey::from_blob(key.blob()), Ok(key.clone()));
        let without_comment = line.rsplit_once(' ').unwrap().0;
        assert_eq!(PublicKey::parse_line(&format!("  {without_comment}\t")), Ok(key), "the comment is not part of it");
    }
}

#[test]
fn fingerprints_are_those_of_ssh_keygen() {
    let key = PublicKey::parse_line(ED25519).unwrap();
    assert_eq!(key.fingerprint(), "SHA256:AGAwlPxZdp+2F+5L/5NEDnzWzOZbbFwZi+Paq7B2IJU");
}

#[test]
fn keys_that_are_too_weak_damaged_or_something_else_are_refused() {
    assert_eq!(PublicKey::parse_line(RSA_1024), Err(InvalidKey::RsaTooShort(1024)));
    let blob = ED25519.split(' ').nth(1).unwrap();
    for (line, why) in [
        (String::new(), InvalidKey::NotALine),
        ("ssh-ed25519".into(), InvalidKey::NotALine),
        (format!("ssh-dss {blob}"), InvalidKey::UnknownType),
        (format!("command=\"x\" ssh-ed25519 {blob}"), InvalidKey::Options),
        (format!("ssh-rsa {blob}"), InvalidKey::TypeMismatch),
        ("ssh-ed25519 !!!".into(), InvalidKey::Base64),
        ("ssh-ed25519 AAAA".into(), InvalidKey::Damaged),
    ] {
        assert_eq!(PublicKey::parse_line(&line), Err(why), "{line}");
    }
}

#[test]
fn every_truncation_and_extension_of_a_blob_is_refused() {
    for line in [ED25519, P256, RSA] {
        let blob = PublicKey::parse_line(line).unwrap().blob().to_vec();
        for end in 0..blob.len() {
            assert!(PublicKey::from_blob(&blob[..end]).is_err(), "{end} bytes");
        }
        assert_eq!(PublicKey::from_blob(&[blob.as_slice(), b"x"].concat()), Err(InvalidKey::Damaged));
    }
    assert!(PublicKey::from_blob(&[0xff; 64]).is_err());
    assert!(PublicKey::from_blob(&vec![0; 1 << 20]).is_err());
}

#[test]
fn two_keys_are_equal_only_if_their_blobs_are() {
    assert_ne!(PublicKey::parse_line(ED25519), PublicKey::parse_line(P256));
    assert_eq!(PublicKey::parse_line(ED25519), PublicKey::parse_line(&format!("{ED25519} more")));
}
