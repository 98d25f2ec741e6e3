//! The bytes of attachments, in a folder or in an S3 bucket. Only this file uses the object store.
//!
//! Each attachment has a path of its own, written by one upload at a time. The bytes count only after the attachment's
//! row says so. Any other bytes were left by an upload that was broken off.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{BoxStream, StreamExt};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, RetryConfig};

use super::folder::make_folder;
use crate::domain::{AttachmentId, Error, Result};

/// The bytes of an upload that are held in memory: 5 MiB, the least that S3 takes for a part of a larger object.
const PART_BYTES: usize = 5 << 20;

/// How often a request to a bucket is retried, and for how long in all, because callers wait.
const BUCKET_RETRIES_MAX: usize = 3;
const BUCKET_WAIT: Duration = Duration::from_secs(20);

/// The file name of the bytes under an attachment's path.
const IMAGE: &str = "image";

/// The store for the bytes of attachments. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Objects(ObjectsPlace);

#[derive(Clone, Debug, Default)]
enum ObjectsPlace {
    #[default]
    Nowhere,
    /// A folder, which the first upload creates.
    Folder(PathBuf),
    Bucket(Arc<dyn ObjectStore>, Path),
}

impl Objects {
    /// Stores attachments in a folder of this machine.
    pub fn in_folder(folder: PathBuf) -> Self {
        Self(ObjectsPlace::Folder(folder))
    }

    /// Stores attachments in a bucket below a prefix. `settings` are AWS's own variables, by name.
    pub fn in_bucket(bucket: &str, prefix: &str, settings: &[(String, String)]) -> Result<Self> {
        // The client uses the process's default cryptography. Ring is also what the database's driver uses. A default
        // that was set earlier stays.
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut builder = AmazonS3Builder::new();
        for (name, value) in settings {
            if let Ok(key) = AmazonS3ConfigKey::from_str(&name.to_ascii_lowercase()) {
                builder = builder.with_config(key, value);
            }
        }
        let retry =
            RetryConfig { max_retries: BUCKET_RETRIES_MAX, retry_timeout: BUCKET_WAIT, ..RetryConfig::default() };
        if bucket.is_empty() {
            return Err(Error::fault("opening the bucket", "it has no name"));
        }
        let store = builder.with_bucket_name(bucket).with_retry(retry).build();
        let store = store.map_err(|error| Error::fault("opening the bucket", error))?;
        let prefix = Path::parse(prefix).map_err(|error| Error::fault("reading the bucket's prefix", error))?;
        Ok(Self(ObjectsPlace::Bucket(Arc::new(store), prefix)))
    }

    /// Returns the folder, if attachments are stored in a folder.
    pub fn folder(&self) -> Option<&std::path::Path> {
        match &self.0 {
            ObjectsPlace::Folder(folder) => Some(folder),
            ObjectsPlace::Nowhere | ObjectsPlace::Bucket(..) => None,
        }
    }

    /// Begins to write the bytes of an attachment, over the remains of an upload that was broken off.
    pub async fn write(&self, id: AttachmentId) -> Result<Writing> {
        if let ObjectsPlace::Folder(folder) = &self.0 {
            self.forget(id).await?;
            let folder = folder.clone();
            // The object store syncs the names that it creates itself, and these are below this folder.
            let made = tokio::task::spawn_blocking(move || make_folder(&folder)).await;
            made.map_err(|error| Error::fault("making the folder of attachments", error))?.map_err(unwritten)?;
        }
        let (store, path) = self.place(id)?;
        Ok(Writing { store, path, waiting: BytesMut::new(), parts: None })
    }

    /// Streams the bytes of an attachment.
    pub async fn read(&self, id: AttachmentId) -> Result<BoxStream<'static, Result<Bytes>>> {
        let (store, path) = self.place(id)?;
        let found = store.get(&path).await.map_err(|error| Error::fault("reading an attachment", error))?;
        let bytes = found.into_stream();
        Ok(bytes.map(|piece| piece.map_err(|error| Error::fault("reading an attachment", error))).boxed())
    }

    /// Deletes all bytes of an attachment.
    pub async fn forget(&self, id: AttachmentId) -> Result<()> {
        let gone = match &self.0 {
            ObjectsPlace::Nowhere => return Ok(()),
            // The object store does not see files that it was writing when the process was killed, so they are removed
            // directly.
            ObjectsPlace::Folder(folder) => match tokio::fs::remove_dir_all(folder.join(id.0.to_string())).await {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                outcome => outcome.map_err(|error| error.to_string()),
            },
            ObjectsPlace::Bucket(..) => {
                let (store, path) = self.place(id)?;
                match store.delete(&path).await {
                    Err(object_store::Error::NotFound { .. }) => return Ok(()),
                    outcome => outcome.map_err(|error| error.to_string()),
                }
            }
        };
        gone.map_err(|error| Error::fault("taking an attachment away", error))
    }

    fn place(&self, id: AttachmentId) -> Result<(Arc<dyn ObjectStore>, Path)> {
        let own = id.0.to_string();
        match &self.0 {
            ObjectsPlace::Nowhere => Err(Error::unavailable("this desk keeps no attachments")),
            ObjectsPlace::Folder(folder) => {
                let store = LocalFileSystem::new_with_prefix(folder);
                // An acknowledged upload survives a loss of power, as every mutation does.
                let store = store.map_err(|error| Error::fault("opening the folder", error))?.with_fsync(true);
                Ok((Arc::new(store), Path::from_iter([own.as_str(), IMAGE])))
            }
            ObjectsPlace::Bucket(store, prefix) => Ok((store.clone(), prefix.clone().join(own).join(IMAGE))),
        }
    }
}

/// An upload to the store. After a drop or [`Self::abandon`] none of its bytes can be read.
pub struct Writing {
    store: Arc<dyn ObjectStore>,
    path: Path,
    waiting: BytesMut,
    parts: Option<Box<dyn MultipartUpload>>,
}

impl Writing {
    /// Adds bytes. Sends a part when enough bytes have gathered.
    pub async fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() < PART_BYTES {
            return Ok(());
        }
        let part = self.waiting.split().freeze();
        let outcome = async {
            if self.parts.is_none() {
                self.parts = Some(self.store.put_multipart(&self.path).await?);
            }
            match &mut self.parts {
                Some(parts) => parts.put_part(part.into()).await,
                None => Ok(()),
            }
        };
        outcome.await.map_err(unwritten)
    }

    /// Completes the upload. The bytes can be read from then on.
    pub async fn finish(&mut self) -> Result<()> {
        let rest = self.waiting.split().freeze();
        let outcome = async {
            match &mut self.parts {
                None => self.store.put(&self.path, rest.into()).await.map(|_| ()),
                Some(parts) => {
                    if !rest.is_empty() {
                        parts.put_part(rest.into()).await?;
                    }
                    parts.complete().await.map(|_| ())
                }
            }
        };
        outcome.await.map_err(unwritten)
    }

    /// Cancels the upload.
    pub async fn abandon(self) {
        if let Some(mut parts) = self.parts
            && let Err(error) = parts.abort().await
        {
            tracing::warn!(%error, "parts of an upload stay in the store: let its lifecycle rules take them away");
        }
    }
}

/// Returns the error for bytes that cannot be written: `UNAVAILABLE` if the disk has no room, otherwise a fault.
fn unwritten(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    if has_no_room(&error) {
        tracing::warn!(%error, "the folder of attachments takes no writes");
        return Error::unavailable("there is no room for images now: nothing was kept, try again when there is");
    }
    Error::fault("writing an attachment", error)
}

fn has_no_room(error: &(dyn std::error::Error + 'static)) -> bool {
    use ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| {
        let cause = cause.downcast_ref::<std::io::Error>();
        cause.is_some_and(|error| matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_fault_of_ours() {
        let full = || std::io::Error::from(ErrorKind::StorageFull);
        let inside = object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(full()) };
        assert_eq!(unwritten(full()).code(), crate::domain::Code::Unavailable);
        assert_eq!(unwritten(inside).code(), crate::domain::Code::Unavailable);
        assert_eq!(unwritten(std::io::Error::from(ErrorKind::NotADirectory)).code(), crate::domain::Code::Internal);
    }
}
