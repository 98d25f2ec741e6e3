//! Counts sockets and streams, in all, from each address and of each account. Limits keep one client from taking what
//! all others need.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::{Error, Result};

/// The most sockets and streams at once.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionSettings {
    /// The limit in all. A socket with one subscription takes some 16 KiB, and each takes a file of the process.
    pub sockets: usize,
    /// The limit for one address. Behind a proxy, or behind an office's router, one address may be everybody.
    pub sockets_per_address: usize,
    /// The limit for one account: half of all, because the screens of a whole site may share one account. All callers
    /// that name no account are the same local manager.
    pub sockets_per_principal: usize,
}

impl Default for AdmissionSettings {
    fn default() -> Self {
        Self { sockets: 20_000, sockets_per_address: 10_000, sockets_per_principal: 10_000 }
    }
}

/// The counts of a server. Clones share them.
#[derive(Clone, Default)]
pub(in crate::server) struct Admissions(Arc<Mutex<AdmittedCounts>>);

#[derive(Default)]
struct AdmittedCounts {
    in_all: usize,
    by_address: HashMap<IpAddr, usize>,
    by_principal: HashMap<Arc<[u8]>, usize>,
}

/// The slot of one socket or stream, given back when it is dropped.
pub(in crate::server) struct Admission {
    admissions: Admissions,
    bounds: AdmissionSettings,
    address: Option<IpAddr>,
    principal: Option<Arc<[u8]>>,
}

impl Admissions {
    /// Takes a slot for a socket from this address; `None` if the server does not know the address.
    pub(in crate::server) fn admit(&self, address: Option<IpAddr>, bounds: &AdmissionSettings) -> Result<Admission> {
        let mut present = self.present();
        if present.in_all >= bounds.sockets {
            let message = format!("the desk serves {} sockets at once; try again", bounds.sockets);
            return Err(Error::limit("socket", message, bounds.sockets));
        }
        if let Some(address) = address {
            enter(&mut present.by_address, address, bounds.sockets_per_address, "an address")?;
        }
        present.in_all += 1;
        Ok(Admission { admissions: self.clone(), bounds: *bounds, address, principal: None })
    }

    fn present(&self) -> MutexGuard<'_, AdmittedCounts> {
        // No code is called while the lock is held, so a poisoned count is consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission {
    /// Counts the socket for the principal of its caller, and no longer for a former principal. After a refusal the
    /// socket keeps its slot until it is dropped.
    pub(in crate::server) fn belongs_to(&mut self, principal: Vec<u8>) -> Result<()> {
        let principal: Arc<[u8]> = principal.into();
        let mut present = self.admissions.present();
        enter(&mut present.by_principal, principal.clone(), self.bounds.sockets_per_principal, "an account")?;
        if let Some(former) = self.principal.replace(principal) {
            leave(&mut present.by_principal, &former);
        }
        Ok(())
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut present = self.admissions.present();
        present.in_all -= 1;
        if let Some(address) = &self.address {
            leave(&mut present.by_address, address);
        }
        if let Some(principal) = &self.principal {
            leave(&mut present.by_principal, principal);
        }
    }
}

fn enter<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K, bound: usize, whose: &str) -> Result<()> {
    if counts.get(&key).copied().unwrap_or_default() >= bound {
        return Err(Error::limit("socket", format!("{whose} may hold {bound} sockets at once"), bound));
    }
    *counts.entry(key).or_default() += 1;
    Ok(())
}

/// Counts one less, and removes a key whose count is zero.
pub(in crate::server) fn leave<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(here) = counts.get_mut(key) {
        *here -= 1;
        if *here == 0 {
            counts.remove(key);
        }
    }
}
