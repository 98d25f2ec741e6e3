//! The signing key of the desk: an Ed25519 key, in formats that other tools read.

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, KeypairBytes};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use super::chain::unhex;
use super::{Error, Result};

/// The length of a key id, in bytes: long enough that no two keys share an id by chance, short enough to read aloud.
const KEY_ID_BYTES: usize = 8;

/// The private key that a desk signs with. Its `Debug` form does not contain the secret.
#[derive(Clone)]
pub struct DeskKey(SigningKey);

/// The public half of a desk's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl DeskKey {
    /// Creates the key from its 32 secret bytes.
    pub fn of(secret: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(secret))
    }

    /// Reads a key as PKCS#8 in PEM, as `openssl genpkey -algorithm ed25519` writes it.
    pub fn from_pem(pem: &str) -> Result<Self> {
        let key = SigningKey::from_pkcs8_pem(pem).map_err(|error| Error::fault("reading a signing key", error))?;
        Ok(Self(key))
    }

    /// Returns the key as PKCS#8 in PEM.
    pub fn to_pem(&self) -> Result<String> {
        // The public half is left out, because OpenSSL 3.0 does not read the form with both halves.
        let form = KeypairBytes { secret_key: self.0.to_bytes(), public_key: None };
        let pem = form.to_pkcs8_pem(LineEnding::LF).map_err(|error| Error::fault("writing a signing key", error))?;
        Ok(pem.to_string())
    }

    /// Returns the public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl std::fmt::Debug for DeskKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DeskKey").field(&self.public().id()).finish()
    }
}

impl PublicKey {
    /// Reads a public key: 64 hexadecimal digits, or PEM.
    pub fn parse(text: &str) -> Option<Self> {
        let key = match unhex::<32>(text.trim()) {
            Some(bytes) => VerifyingKey::from_bytes(&bytes).ok()?,
            None => VerifyingKey::from_public_key_pem(text).ok()?,
        };
        Some(Self(key))
    }

    /// Returns the key in hexadecimal.
    pub fn hex(&self) -> String {
        hex::encode(self.0.as_bytes())
    }

    /// Returns the key in PEM.
    pub fn to_pem(&self) -> Result<String> {
        self.0.to_public_key_pem(LineEnding::LF).map_err(|error| Error::fault("writing a public key", error))
    }

    /// Returns the key's id: the start of the SHA-256 of the public key, in hexadecimal.
    pub fn id(&self) -> String {
        hex::encode(&Sha256::digest(self.0.as_bytes())[..KEY_ID_BYTES])
    }

    /// Returns whether this key's private half signed a message. A signature has exactly one valid form.
    pub fn signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_what_it_wrote() {
        let key = DeskKey::of(&[7; 32]);
        let public = key.public();
        assert_eq!(DeskKey::from_pem(&key.to_pem().unwrap()).unwrap().public(), public);
        assert_eq!(PublicKey::parse(&public.hex()), Some(public));
        assert_eq!(PublicKey::parse(&public.to_pem().unwrap()), Some(public));
        assert_eq!(PublicKey::parse("a key"), None);
        assert!(public.signed(b"what was signed", &key.sign(b"what was signed")));
        assert!(!public.signed(b"something else", &key.sign(b"what was signed")));
    }

    #[test]
    fn a_key_does_not_show_itself() {
        let key = DeskKey::of(&[7; 32]);
        assert_eq!(format!("{key:?}"), format!("DeskKey({:?})", key.public().id()));
    }
}
