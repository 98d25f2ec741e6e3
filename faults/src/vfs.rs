//! SQLite's file layer over the default layer. This file holds the whole C interface.
//!
//! A file of this layer is a [`File`] followed by the default layer's file, in one piece of memory that SQLite
//! allocates and frees: `szOsFile` gives the size. Each function does its part and calls the default layer's function.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use libsqlite3_sys::{
    SQLITE_FULL, SQLITE_IOERR_CLOSE, SQLITE_IOERR_FSTAT, SQLITE_IOERR_FSYNC, SQLITE_IOERR_LOCK, SQLITE_IOERR_READ,
    SQLITE_IOERR_SHMMAP, SQLITE_IOERR_TRUNCATE, SQLITE_IOERR_WRITE, SQLITE_NOTFOUND, SQLITE_OK, SQLITE_OPEN_MAIN_DB,
    SQLITE_OPEN_MAIN_JOURNAL, SQLITE_OPEN_WAL, sqlite3_file, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs,
    sqlite3_vfs_find, sqlite3_vfs_register,
};

use crate::memory::Operation;
use crate::{Fault, State, lock};

/// The target of a layer's `pAppData`. It is never freed, because SQLite keeps the layer until the process ends.
struct Layer {
    usual: *mut sqlite3_vfs,
    state: Arc<Mutex<State>>,
}

/// A file of this layer. `base` comes first, because SQLite only knows that part.
#[repr(C)]
struct File {
    base: sqlite3_file,
    layer: *const Layer,
    /// The file's number in memory; `None` for other files than the database's, for example temporary files.
    number: Option<usize>,
}

/// Registers a layer with SQLite, and returns its name.
pub(crate) fn register(state: Arc<Mutex<State>>) -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let name = format!("faults-{}", LAST.fetch_add(1, Ordering::Relaxed));
    let c_name = CString::new(name.as_str()).unwrap_or_default().into_raw();
    // SAFETY: null asks for the default layer, which a bundled SQLite has, and which lives as long as the process.
    let usual = unsafe { sqlite3_vfs_find(ptr::null()) };
    assert!(!usual.is_null(), "SQLite has a file layer");
    let layer = Box::into_raw(Box::new(Layer { usual, state }));
    // SAFETY: `usual` is a valid layer (above). What is copied with it are functions that do not look at the layer they are
    // called for, but at most at its length of paths, which is copied too; the two that do more are replaced.
    let mut vfs = unsafe { *usual };
    vfs.szOsFile += size_of::<File>() as c_int;
    vfs.pNext = ptr::null_mut();
    vfs.zName = c_name;
    vfs.pAppData = layer.cast();
    vfs.xOpen = Some(open);
    vfs.xDelete = Some(delete);
    // SAFETY: the layer and its name are leaked, so they outlive every use. It does not become the default.
    let rc = unsafe { sqlite3_vfs_register(Box::into_raw(Box::new(vfs)), 0) };
    assert_eq!(rc, SQLITE_OK, "the layer is registered");
    name
}

/// # Safety
/// `vfs` is a layer of this file.
unsafe fn layer<'a>(vfs: *mut sqlite3_vfs) -> &'a Layer {
    // SAFETY: `register` has put a leaked `Layer` there.
    unsafe { &*(*vfs).pAppData.cast::<Layer>() }
}

/// # Safety
/// `file` was opened by this layer.
unsafe fn own<'a>(file: *mut sqlite3_file) -> (&'a File, &'a Layer) {
    // SAFETY: `open` has written a `File` there, whose layer is leaked. Nothing writes to it before the file is closed.
    unsafe {
        let own = &*file.cast::<File>();
        (own, &*own.layer)
    }
}

/// Returns the default layer's file, which follows ours in memory.
///
/// # Safety
/// `file` is memory that SQLite allocated for a file of this layer.
unsafe fn usual(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // SAFETY: SQLite allocates `szOsFile` bytes, which is a `File` and the usual layer's part. A `File`'s size is a multiple of
    // its alignment, so what comes behind it is aligned as the memory is, to eight bytes.
    unsafe { file.cast::<File>().add(1).cast() }
}

/// # Safety
/// `file` was opened by this layer.
unsafe fn usual_methods<'a>(file: *mut sqlite3_file) -> (&'a sqlite3_io_methods, *mut sqlite3_file) {
    // SAFETY: opened by this layer, it was opened by the usual one too, which has put its functions there.
    unsafe {
        let usual = usual(file);
        (&*(*usual).pMethods, usual)
    }
}

unsafe extern "C" fn open(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite calls it with a layer of this file and memory for a file of it; the usual layer gets its own part of it.
    unsafe {
        let layer = layer(vfs);
        let own = file.cast::<File>();
        (*own).base.pMethods = ptr::null();
        let usual_file = usual(file);
        let Some(usual_open) = (*layer.usual).xOpen else { return SQLITE_NOTFOUND };
        let rc = usual_open(layer.usual, name, usual_file, flags, out);
        if rc != SQLITE_OK {
            return rc;
        }
        let is_ours = flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL) != 0;
        let number = (is_ours && !name.is_null())
            .then(|| lock(&layer.state).memory.file(&CStr::from_ptr(name).to_string_lossy()));
        own.write(File { base: sqlite3_file { pMethods: &METHODS }, layer, number });
        SQLITE_OK
    }
}

unsafe extern "C" fn delete(vfs: *mut sqlite3_vfs, name: *const c_char, sync_folder: c_int) -> c_int {
    // SAFETY: SQLite calls it with a layer of this file and a path.
    unsafe {
        let layer = layer(vfs);
        let Some(usual_delete) = (*layer.usual).xDelete else { return SQLITE_NOTFOUND };
        let rc = usual_delete(layer.usual, name, sync_folder);
        if rc == SQLITE_OK {
            let mut state = lock(&layer.state);
            let number = state.memory.file(&CStr::from_ptr(name).to_string_lossy());
            state.remember(number, Operation::Delete);
        }
        rc
    }
}

unsafe extern "C" fn write(file: *mut sqlite3_file, from: *const c_void, count: c_int, offset: sqlite3_int64) -> c_int {
    // SAFETY: SQLite calls it with an open file of this layer and `count` bytes.
    unsafe {
        let (own, layer) = own(file);
        let (methods, usual) = usual_methods(file);
        let Some(usual_write) = methods.xWrite else { return SQLITE_IOERR_WRITE };
        let Some(number) = own.number else { return usual_write(usual, from, count, offset) };
        // Held during the write, so that memory has the order of the disk.
        let mut state = lock(&layer.state);
        let fault = state.begin();
        let count_done = match fault {
            None | Some(Fault::ErrorAfter) => count,
            Some(Fault::Full) => count / 2,
            Some(Fault::Error) => 0,
        };
        let mut rc = SQLITE_OK;
        if count_done > 0 {
            rc = usual_write(usual, from, count_done, offset);
            let bytes = std::slice::from_raw_parts(from.cast::<u8>(), count_done as usize).to_vec();
            state.remember(number, Operation::Write { offset: offset as usize, bytes });
        }
        match fault {
            None => rc,
            Some(Fault::Full) => SQLITE_FULL,
            Some(Fault::Error | Fault::ErrorAfter) => SQLITE_IOERR_WRITE,
        }
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    // SAFETY: SQLite calls it with an open file of this layer.
    unsafe {
        let (own, layer) = own(file);
        let (methods, usual) = usual_methods(file);
        let Some(usual_truncate) = methods.xTruncate else { return SQLITE_IOERR_TRUNCATE };
        let Some(number) = own.number else { return usual_truncate(usual, size) };
        let mut state = lock(&layer.state);
        let fault = state.begin();
        if matches!(fault, Some(Fault::Full | Fault::Error)) {
            return SQLITE_IOERR_TRUNCATE;
        }
        let rc = usual_truncate(usual, size);
        state.remember(number, Operation::Truncate(size as usize));
        if fault.is_some() { SQLITE_IOERR_TRUNCATE } else { rc }
    }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: SQLite calls it with an open file of this layer.
    unsafe {
        let (own, layer) = own(file);
        let (methods, usual) = usual_methods(file);
        let Some(usual_sync) = methods.xSync else { return SQLITE_IOERR_FSYNC };
        let Some(number) = own.number else { return usual_sync(usual, flags) };
        let mut state = lock(&layer.state);
        let fault = state.begin();
        if matches!(fault, Some(Fault::Full | Fault::Error)) {
            return SQLITE_IOERR_FSYNC;
        }
        // Not passed on: memory decides what a loss of power would leave, and real syncs would slow the many tests.
        state.remember(number, Operation::Sync);
        if fault.is_some() { SQLITE_IOERR_FSYNC } else { SQLITE_OK }
    }
}

/// Defines functions that only pass a call on to the default layer.
macro_rules! passed_on {
    ($($name:ident = $method:ident($($argument:ident: $kind:ty),*) or $error:expr;)+) => {$(
        unsafe extern "C" fn $name(file: *mut sqlite3_file $(, $argument: $kind)*) -> c_int {
            // SAFETY: SQLite calls it with an open file of this layer; the arguments go on as they are.
            unsafe {
                let (methods, usual) = usual_methods(file);
                match methods.$method {
                    Some(usual_method) => usual_method(usual $(, $argument)*),
                    None => $error,
                }
            }
        }
    )+};
}

passed_on! {
    close = xClose() or SQLITE_IOERR_CLOSE;
    read = xRead(into: *mut c_void, count: c_int, offset: sqlite3_int64) or SQLITE_IOERR_READ;
    file_size = xFileSize(size: *mut sqlite3_int64) or SQLITE_IOERR_FSTAT;
    acquire = xLock(level: c_int) or SQLITE_IOERR_LOCK;
    release = xUnlock(level: c_int) or SQLITE_IOERR_LOCK;
    check_reserved = xCheckReservedLock(out: *mut c_int) or SQLITE_IOERR_LOCK;
    control = xFileControl(what: c_int, argument: *mut c_void) or SQLITE_NOTFOUND;
    sector_size = xSectorSize() or 0;
    characteristics = xDeviceCharacteristics() or 0;
    shm_map = xShmMap(page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void) or SQLITE_IOERR_SHMMAP;
    shm_lock = xShmLock(offset: c_int, count: c_int, flags: c_int) or SQLITE_IOERR_LOCK;
    shm_unmap = xShmUnmap(delete: c_int) or SQLITE_IOERR_SHMMAP;
}

unsafe extern "C" fn shm_barrier(file: *mut sqlite3_file) {
    // SAFETY: SQLite calls it with an open file of this layer.
    unsafe {
        let (methods, usual) = usual_methods(file);
        if let Some(usual_barrier) = methods.xShmBarrier {
            usual_barrier(usual);
        }
    }
}

/// Version 2 is enough for a write-ahead log. Version 3 maps files into memory, which bypasses `write`.
static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(acquire),
    xUnlock: Some(release),
    xCheckReservedLock: Some(check_reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
