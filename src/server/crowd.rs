//! How many sockets there are, in all and from each address: bounded, so that one client cannot take what all others need.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::{Error, Result};

/// The most sockets at once.
#[derive(Clone, Copy, Debug)]
pub struct CrowdSettings {
    /// In all. A socket with one subscription takes some 16 KiB, and each takes a file of the process.
    pub sockets: usize,
    /// From one address: behind a proxy, or behind one office's router, that may be everybody.
    pub sockets_per_address: usize,
}

impl Default for CrowdSettings {
    fn default() -> Self {
        Self { sockets: 20_000, sockets_per_address: 10_000 }
    }
}

/// The sockets of a server. Clones share the count.
#[derive(Clone, Default)]
pub(super) struct Crowd(Arc<Mutex<Present>>);

#[derive(Default)]
struct Present {
    in_all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One socket's place, given back when it is dropped.
pub(super) struct Admission {
    crowd: Crowd,
    address: Option<IpAddr>,
}

impl Crowd {
    /// A place for a socket from this address; none is known where the server was not told who connects.
    pub(super) fn admit(&self, address: Option<IpAddr>, bounds: &CrowdSettings) -> Result<Admission> {
        let mut present = self.present();
        if present.in_all >= bounds.sockets {
            let message = format!("the desk serves {} sockets at once; try again", bounds.sockets);
            return Err(Error::limit("socket", message, bounds.sockets));
        }
        if let Some(address) = address {
            let here = present.by_address.entry(address).or_default();
            if *here >= bounds.sockets_per_address {
                let bound = bounds.sockets_per_address;
                return Err(Error::limit("socket", format!("an address may hold {bound} sockets at once"), bound));
            }
            *here += 1;
        }
        present.in_all += 1;
        Ok(Admission { crowd: self.clone(), address })
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        // Nothing is called while it is held, so a poisoned count is a whole one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut present = self.crowd.present();
        present.in_all -= 1;
        let Some(address) = self.address else { return };
        if let Some(here) = present.by_address.get_mut(&address) {
            *here -= 1;
            if *here == 0 {
                present.by_address.remove(&address);
            }
        }
    }
}
