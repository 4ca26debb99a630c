//! The server's C interface, made safe: everything that is `unsafe` in this project's module.
//!
//! The server calls a module on its own thread only, one call at a time; what it lends (a context,
//! a key, the words of a command) lives as long as that call. The types here borrow accordingly.
//! Every call from the server goes through [`guarded`]: a panic ends with the call.

#![allow(unsafe_code)]

use crate::{command_info, entry};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};
use valkey_module::raw;

/// The module's name, as `MODULE LIST` shows it.
pub const NAME: &CStr = c"ferrite-webhooks";
/// The name under which definitions stand in an RDB file; the server wants nine characters.
const TYPE_NAME: &CStr = c"ferritewh";
/// The version of what stands there.
const TYPE_VERSION: c_int = 1;
/// What is told of.
const NOTIFICATIONS: u32 = raw::REDISMODULE_NOTIFY_GENERIC as u32
    | raw::REDISMODULE_NOTIFY_STRING as u32
    | raw::REDISMODULE_NOTIFY_LIST as u32
    | raw::REDISMODULE_NOTIFY_SET as u32
    | raw::REDISMODULE_NOTIFY_HASH as u32
    | raw::REDISMODULE_NOTIFY_ZSET as u32
    | raw::REDISMODULE_NOTIFY_EXPIRED as u32
    | raw::REDISMODULE_NOTIFY_EVICTED as u32
    | raw::REDISMODULE_NOTIFY_STREAM as u32;
const OK: c_int = raw::REDISMODULE_OK as c_int;
const ERR: c_int = raw::REDISMODULE_ERR as c_int;

/// Calls a function of the server. The pointers are filled in by `Export_RedisModule_Init`, before
/// anything else runs; one that this server does not have is a panic, which `guarded` ends.
macro_rules! call {
    ($name:ident ( $($argument:expr),* $(,)? )) => {{
        // SAFETY: the table is written once, by OnLoad, before the server calls anything here; the
        // arguments are pointers that the server gave for the time of this call, or that live on
        // this stack, and lengths that belong to them.
        #[allow(clippy::macro_metavars_in_unsafe, reason = "this is how the file calls the server")]
        unsafe { raw::$name.expect(concat!("the server lacks ", stringify!($name)))($($argument),*) }
    }};
}

/// Runs what the server called; after a panic the answer is `otherwise`.
fn guarded<R>(otherwise: R, act: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or(otherwise)
}

/// The bytes of a server's string.
///
/// The lifetime is the caller's to choose: as long as the server's call lasts.
fn bytes_of<'a>(string: *const raw::RedisModuleString) -> &'a [u8] {
    let mut length = 0;
    let data = call!(RedisModule_StringPtrLen(string, &mut length));
    if data.is_null() {
        return &[];
    }
    // SAFETY: the server gives the address and the length of a string that it holds during the
    // call that this is used in, and does not change it meanwhile.
    unsafe { std::slice::from_raw_parts(data.cast(), length) }
}

/// A string of our own for the server; freed with this.
struct OwnString(*mut raw::RedisModuleString);

impl OwnString {
    fn new(bytes: &[u8]) -> Self {
        let data = bytes.as_ptr().cast();
        OwnString(call!(RedisModule_CreateString(ptr::null_mut(), data, bytes.len())))
    }
}

impl Drop for OwnString {
    fn drop(&mut self) {
        call!(RedisModule_FreeString(ptr::null_mut(), self.0));
    }
}

/// The server, during one call.
pub struct Server<'a> {
    context: *mut raw::RedisModuleCtx,
    call: PhantomData<&'a ()>,
}

impl<'a> Server<'a> {
    fn new(context: *mut raw::RedisModuleCtx) -> Self {
        Server { context, call: PhantomData }
    }

    fn has(&self, flag: u32) -> bool {
        call!(RedisModule_GetContextFlags(self.context)) as u32 & flag != 0
    }

    /// Whether it is a replica of another.
    pub fn is_replica(&self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_SLAVE)
    }

    /// Whether it is a node of a cluster.
    pub fn is_in_cluster(&self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_CLUSTER)
    }

    /// Whether it reads its data from a file, or from its primary.
    pub fn is_loading(&self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_LOADING)
    }

    /// Whether the caller may not be kept waiting: it is a transaction or a script.
    pub fn denies_blocking(&self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_DENY_BLOCKING)
    }

    /// Whether the client speaks RESP3.
    pub fn is_resp3(&self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_RESP3)
    }

    /// The database that the call is about.
    pub fn database(&self) -> u32 {
        u32::try_from(call!(RedisModule_GetSelectedDb(self.context))).unwrap_or(0)
    }

    /// The number of the client's connection.
    pub fn client_id(&self) -> u64 {
        call!(RedisModule_GetClientId(self.context))
    }

    /// The address of the client `id`; empty for one without a connection.
    pub fn client_ip(&self, id: u64) -> String {
        // SAFETY: the struct is numbers and bytes, for which zero is a value.
        let mut info: raw::RedisModuleClientInfo = unsafe { std::mem::zeroed() };
        info.version = 1;
        let place = (&raw mut info).cast::<c_void>();
        if call!(RedisModule_GetClientInfoById(place, id)) != OK {
            return String::new();
        }
        let bytes: Vec<u8> = info.addr.iter().map(|byte| *byte as u8).collect();
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }

    /// The port that the server listens on, or another number of its configuration.
    pub fn configured_number(&self, name: &CStr) -> Option<u16> {
        let (command, format, get) = (c"CONFIG".as_ptr(), c"cc".as_ptr(), c"GET".as_ptr());
        let reply = call!(RedisModule_Call(self.context, command, format, get, name.as_ptr()));
        if reply.is_null() {
            return None;
        }
        let value = call!(RedisModule_CallReplyArrayElement(reply, 1));
        let mut number = None;
        if !value.is_null() {
            let text = taken(call!(RedisModule_CreateStringFromCallReply(value)));
            number = text.and_then(|text| String::from_utf8(text).ok()?.parse().ok());
        }
        call!(RedisModule_FreeCallReply(reply));
        number
    }

    /// Writes a line to the server's log.
    pub fn log(&self, level: &CStr, line: &str) {
        let line = CString::new(line.replace('\0', " ")).unwrap_or_default();
        call!(RedisModule_Log(self.context, level.as_ptr(), c"%s".as_ptr(), line.as_ptr()));
    }

    /// Sends the command as it was given to replicas and to the append-only file.
    pub fn replicate(&self) {
        call!(RedisModule_ReplicateVerbatim(self.context));
    }

    /// Opens a key for reading, without making it look used.
    pub fn open(&self, key: &NotifiedKey<'_>) -> Option<Key<'_>> {
        let mode = raw::REDISMODULE_READ as c_int | raw::REDISMODULE_OPEN_KEY_NOTOUCH as c_int;
        let opened = call!(RedisModule_OpenKey(self.context, key.string, mode));
        NonNull::new(opened.cast()).map(|key| Key { key, call: PhantomData })
    }

    /// The string at `key`, put into `value`; whether there is one.
    ///
    /// A long string is copied out of the keyspace; a short one is asked for with GET, because
    /// the interface would turn it into a long one.
    pub fn read_string(
        &self,
        key: &NotifiedKey<'_>,
        bytes_max: usize,
        value: &mut Vec<u8>,
    ) -> bool {
        let Some(opened) = self.open(key) else { return false };
        if opened.kind() != raw::REDISMODULE_KEYTYPE_STRING as c_int || opened.length() > bytes_max
        {
            return false;
        }
        if opened.length() > EMBEDDED_BYTES_MAX {
            return opened.copy_long_string(value);
        }
        drop(opened);
        self.get(key, value)
    }

    fn get(&self, key: &NotifiedKey<'_>, value: &mut Vec<u8>) -> bool {
        let (command, format) = (c"GET".as_ptr(), c"s".as_ptr());
        let reply = call!(RedisModule_Call(self.context, command, format, key.string));
        if reply.is_null() {
            return false;
        }
        let mut length = 0;
        let data = call!(RedisModule_CallReplyStringPtr(reply, &mut length));
        let found = !data.is_null();
        if found {
            // SAFETY: the reply holds so many bytes there until it is freed, below.
            value.extend_from_slice(unsafe { std::slice::from_raw_parts(data.cast(), length) });
        }
        call!(RedisModule_FreeCallReply(reply));
        found
    }

    /// Stops the client until [`BlockedClient::reply`].
    pub fn block(&self) -> BlockedClient {
        let client = call!(RedisModule_BlockClient(self.context, None, None, None, 0));
        BlockedClient { client }
    }

    /// Hears of every command before it runs, from now on.
    pub fn watch_commands(&self) -> Option<Watch> {
        let flags = raw::REDISMODULE_CMDFILTER_NOSELF as c_int;
        let filter = call!(RedisModule_RegisterCommandFilter(self.context, Some(on_filter), flags));
        NonNull::new(filter.cast()).map(Watch)
    }

    /// Ends it.
    pub fn unwatch_commands(&self, watch: Watch) {
        call!(RedisModule_UnregisterCommandFilter(self.context, watch.0.as_ptr().cast()));
    }
}

/// Belongs to no call and to no client: for what is logged by other threads.
static DETACHED: AtomicPtr<raw::RedisModuleCtx> = AtomicPtr::new(ptr::null_mut());

/// Writes a line to the server's log, from any thread.
pub fn log(level: &CStr, line: &str) {
    Server::new(DETACHED.load(Ordering::Acquire)).log(level, line);
}

/// Strings up to so long may be kept in a form that the interface cannot lend.
const EMBEDDED_BYTES_MAX: usize = 44;

/// That commands are heard of.
pub struct Watch(NonNull<c_void>);

/// Answers go here.
impl crate::resp::Answer for Server<'_> {
    fn simple(&mut self, text: &[u8]) {
        let text = CString::new(text).unwrap_or_default();
        call!(RedisModule_ReplyWithSimpleString(self.context, text.as_ptr()));
    }

    fn error(&mut self, text: &[u8]) {
        let text = CString::new(text).unwrap_or_default();
        call!(RedisModule_ReplyWithError(self.context, text.as_ptr()));
    }

    fn integer(&mut self, value: i64) {
        call!(RedisModule_ReplyWithLongLong(self.context, value));
    }

    fn bulk(&mut self, bytes: &[u8]) {
        let data = bytes.as_ptr().cast();
        call!(RedisModule_ReplyWithStringBuffer(self.context, data, bytes.len()));
    }

    fn verbatim(&mut self, bytes: &[u8]) {
        let data = bytes.as_ptr().cast();
        call!(RedisModule_ReplyWithVerbatimString(self.context, data, bytes.len()));
    }

    fn double(&mut self, value: f64) {
        call!(RedisModule_ReplyWithDouble(self.context, value));
    }

    fn null(&mut self) {
        call!(RedisModule_ReplyWithNull(self.context));
    }

    fn null_array(&mut self) {
        call!(RedisModule_ReplyWithNullArray(self.context));
    }

    fn array(&mut self, count: usize) {
        call!(RedisModule_ReplyWithArray(self.context, count as _));
    }

    fn map(&mut self, count: usize) {
        call!(RedisModule_ReplyWithMap(self.context, count as _));
    }

    fn set(&mut self, count: usize) {
        call!(RedisModule_ReplyWithSet(self.context, count as _));
    }
}

/// The key that a notification is about.
pub struct NotifiedKey<'a> {
    string: *mut raw::RedisModuleString,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// The fields of a stream's entry, with their values.
type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// An open key.
pub struct Key<'a> {
    key: NonNull<c_void>,
    call: PhantomData<&'a ()>,
}

impl Key<'_> {
    fn raw(&self) -> *mut raw::RedisModuleKey {
        self.key.as_ptr().cast()
    }

    fn kind(&self) -> c_int {
        call!(RedisModule_KeyType(self.raw()))
    }

    /// Bytes of a string, items of a collection.
    pub fn length(&self) -> usize {
        call!(RedisModule_ValueLength(self.raw()))
    }

    /// Milliseconds that it has left to live; `None` for ever.
    pub fn ttl_ms(&self) -> Option<u64> {
        u64::try_from(call!(RedisModule_GetExpire(self.raw()))).ok()
    }

    fn copy_long_string(&self, value: &mut Vec<u8>) -> bool {
        let (mut length, mode) = (0, raw::REDISMODULE_READ as c_int);
        let data = call!(RedisModule_StringDMA(self.raw(), &mut length, mode));
        if data.is_null() {
            return false;
        }
        // SAFETY: the server lends so many bytes there while the key is open and nothing writes.
        value.extend_from_slice(unsafe { std::slice::from_raw_parts(data.cast(), length) });
        true
    }

    /// An item of a list, counted from its head, or with a negative index from its tail.
    pub fn list_item(&self, index: i64) -> Option<Vec<u8>> {
        if self.kind() != raw::REDISMODULE_KEYTYPE_LIST as c_int {
            return None;
        }
        taken(call!(RedisModule_ListGet(self.raw(), index as _)))
    }

    /// The value of a field of a hash.
    pub fn hash_field(&self, field: &[u8]) -> Option<Vec<u8>> {
        if self.kind() != raw::REDISMODULE_KEYTYPE_HASH as c_int {
            return None;
        }
        let field = OwnString::new(field);
        let mut value: *mut raw::RedisModuleString = ptr::null_mut();
        let end = ptr::null::<c_void>();
        let place = &raw mut value;
        let flags = raw::REDISMODULE_HASH_NONE as c_int;
        call!(RedisModule_HashGet(self.raw(), flags, field.0, place, end));
        taken(value)
    }

    /// The score of a member of a sorted set.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        if self.kind() != raw::REDISMODULE_KEYTYPE_ZSET as c_int {
            return None;
        }
        let member = OwnString::new(member);
        let mut score = 0.0;
        let found = call!(RedisModule_ZsetScore(self.raw(), member.0, &mut score)) == OK;
        found.then_some(score)
    }

    /// The last entry of a stream: its id, and its fields with their values.
    pub fn last_entry(&self) -> Option<(String, Fields)> {
        if self.kind() != raw::REDISMODULE_KEYTYPE_STREAM as c_int {
            return None;
        }
        let reverse = raw::REDISMODULE_STREAM_ITERATOR_REVERSE as c_int;
        let (from, to) = (ptr::null_mut(), ptr::null_mut());
        if call!(RedisModule_StreamIteratorStart(self.raw(), reverse, from, to)) != OK {
            return None;
        }
        let mut id = raw::RedisModuleStreamID { ms: 0, seq: 0 };
        let mut count = 0;
        let mut entry = None;
        if call!(RedisModule_StreamIteratorNextID(self.raw(), &mut id, &mut count)) == OK {
            let mut fields = Vec::new();
            for _ in 0..count {
                let (mut field, mut value) = (ptr::null_mut(), ptr::null_mut());
                let next =
                    call!(RedisModule_StreamIteratorNextField(self.raw(), &mut field, &mut value));
                if next != OK {
                    break;
                }
                fields.extend(taken(field).zip(taken(value)));
            }
            entry = Some((format!("{}-{}", id.ms, id.seq), fields));
        }
        call!(RedisModule_StreamIteratorStop(self.raw()));
        entry
    }
}

impl Drop for Key<'_> {
    fn drop(&mut self) {
        call!(RedisModule_CloseKey(self.raw()));
    }
}

/// Takes over a string that the server made for us.
fn taken(string: *mut raw::RedisModuleString) -> Option<Vec<u8>> {
    if string.is_null() {
        return None;
    }
    let string = OwnString(string);
    Some(bytes_of(string.0).to_vec())
}

/// A client that waits for its reply.
pub struct BlockedClient {
    client: *mut raw::RedisModuleBlockedClient,
}

// SAFETY: the server documents that a blocked client may be answered, and let go, by any thread.
unsafe impl Send for BlockedClient {}

impl BlockedClient {
    /// Answers, and lets the client go on.
    pub fn reply(self, answer: impl FnOnce(&mut Server<'_>)) {
        let context = call!(RedisModule_GetThreadSafeContext(self.client));
        answer(&mut Server::new(context));
        call!(RedisModule_FreeThreadSafeContext(context));
        call!(RedisModule_UnblockClient(self.client, ptr::null_mut()));
    }
}

/// The words of a command that is about to run.
pub struct Words<'a> {
    filter: *mut raw::RedisModuleCommandFilterCtx,
    call: PhantomData<&'a ()>,
}

impl<'a> Words<'a> {
    /// How many there are, its name included.
    pub fn count(&self) -> usize {
        usize::try_from(call!(RedisModule_CommandFilterArgsCount(self.filter))).unwrap_or(0)
    }

    /// One of them; empty where there is none.
    pub fn get(&self, index: usize) -> &'a [u8] {
        let index = c_int::try_from(index).unwrap_or(c_int::MAX);
        let word = call!(RedisModule_CommandFilterArgGet(self.filter, index));
        if word.is_null() { &[] } else { bytes_of(word) }
    }
}

/// An RDB file that is being written or read.
pub struct Dump {
    io: *mut raw::RedisModuleIO,
}

impl Dump {
    /// Writes a number.
    pub fn put_number(&mut self, number: u64) {
        call!(RedisModule_SaveUnsigned(self.io, number));
    }

    /// Writes bytes.
    pub fn put_bytes(&mut self, bytes: &[u8]) {
        call!(RedisModule_SaveStringBuffer(self.io, bytes.as_ptr().cast(), bytes.len()));
    }

    /// Reads a number. At the end of a broken file the server itself gives up.
    pub fn number(&mut self) -> u64 {
        call!(RedisModule_LoadUnsigned(self.io))
    }

    /// Reads bytes.
    pub fn bytes(&mut self) -> Vec<u8> {
        taken(call!(RedisModule_LoadString(self.io))).unwrap_or_default()
    }
}

// What the server calls.

/// The server loads the module.
///
/// # Safety
/// The server calls it, with a context and words that live as long as the call.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the server looks for this name")]
pub unsafe extern "C" fn RedisModule_OnLoad(
    context: *mut raw::RedisModuleCtx,
    words: *mut *mut raw::RedisModuleString,
    count: c_int,
) -> c_int {
    guarded(ERR, || {
        let api = raw::REDISMODULE_APIVER_1 as c_int;
        // SAFETY: the context is the one that the server loads this module with; this fills in
        // the table of its functions.
        if unsafe { raw::Export_RedisModule_Init(context, NAME.as_ptr(), 1, api) } != OK {
            return ERR;
        }
        match load(context, &words_of(words, count)) {
            Ok(()) => OK,
            Err(problem) => {
                Server::new(context).log(c"warning", &problem);
                ERR
            }
        }
    })
}

/// The server is asked to unload the module. It does not come to this: the definitions' data type
/// keeps it loaded; but a server that thinks otherwise is refused.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "the server looks for this name")]
pub extern "C" fn RedisModule_OnUnload(_context: *mut raw::RedisModuleCtx) -> c_int {
    ERR
}

fn words_of<'a>(words: *mut *mut raw::RedisModuleString, count: c_int) -> Vec<&'a [u8]> {
    let count = usize::try_from(count).unwrap_or(0);
    if words.is_null() || count == 0 {
        return Vec::new();
    }
    // SAFETY: the server gives the words of the command that it runs, as many as it says, for the
    // time of the call.
    let words = unsafe { std::slice::from_raw_parts(words, count) };
    words.iter().map(|word| bytes_of(*word)).collect()
}

fn load(context: *mut raw::RedisModuleCtx, words: &[&[u8]]) -> Result<(), String> {
    let detached = call!(RedisModule_GetDetachedThreadSafeContext(context));
    DETACHED.store(detached, Ordering::Release);
    let server = Server::new(context);
    entry::start(&server, words)?;
    create_type(context)?;
    for command in command_info::commands() {
        create_command(context, &command)?;
    }
    let kinds = NOTIFICATIONS as c_int;
    if call!(RedisModule_SubscribeToKeyspaceEvents(context, kinds, Some(on_notification))) != OK {
        return Err("the server does not tell of its keys".to_owned());
    }
    let subscribe = |id: u64, callback: raw::RedisModuleEventCallback| {
        let event = raw::RedisModuleEvent { id, dataver: 1 };
        call!(RedisModule_SubscribeToServerEvent(context, event, callback)) == OK
    };
    let subscribed = subscribe(raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED, Some(on_role))
        && subscribe(raw::REDISMODULE_EVENT_LOADING, Some(on_loading))
        && subscribe(raw::REDISMODULE_EVENT_SHUTDOWN, Some(on_shutdown))
        && subscribe(raw::REDISMODULE_EVENT_EVENTLOOP, Some(on_event_loop));
    if subscribed { Ok(()) } else { Err("the server is older than Redis 7.0".to_owned()) }
}

fn create_type(context: *mut raw::RedisModuleCtx) -> Result<(), String> {
    let mut methods = raw::RedisModuleTypeMethods {
        version: u64::from(raw::REDISMODULE_TYPE_METHOD_VERSION),
        rdb_load: None,
        rdb_save: None,
        aof_rewrite: None,
        mem_usage: None,
        digest: None,
        free: None,
        aux_load: Some(on_aux_load),
        aux_save: Some(on_aux_save),
        aux_save_triggers: raw::REDISMODULE_AUX_BEFORE_RDB as c_int,
        free_effort: None,
        unlink: None,
        copy: None,
        defrag: None,
        mem_usage2: None,
        free_effort2: None,
        unlink2: None,
        copy2: None,
        // Servers that know it write nothing where there is nothing to write.
        aux_save2: Some(on_aux_save2),
    };
    let (name, version) = (TYPE_NAME.as_ptr(), TYPE_VERSION);
    let created = call!(RedisModule_CreateDataType(context, name, version, &mut methods));
    if created.is_null() { Err("the server refuses the data type".to_owned()) } else { Ok(()) }
}

fn create_command(
    context: *mut raw::RedisModuleCtx,
    command: &command_info::Command,
) -> Result<(), String> {
    let (name, flags) = (&command.name, &command.flags);
    let (callback, none) = (Some(on_command as _), 0);
    let created = call!(RedisModule_CreateCommand(
        context,
        name.as_ptr(),
        callback,
        flags.as_ptr(),
        none,
        none,
        none,
    ));
    let refused = || format!("the server refuses the command {}", name.to_string_lossy());
    if created != OK {
        return Err(refused());
    }
    let handle = call!(RedisModule_GetCommand(context, name.as_ptr()));
    let version = raw::RedisModuleCommandInfoVersion {
        version: 1,
        sizeof_historyentry: size_of::<raw::RedisModuleCommandHistoryEntry>(),
        sizeof_keyspec: size_of::<raw::RedisModuleCommandKeySpec>(),
        sizeof_arg: size_of::<raw::RedisModuleCommandArg>(),
    };
    let mut keys = key_specs(command.key);
    // The server copies all of it.
    let mut texts = Vec::new();
    let mut arguments = argument_table(&command.arguments, &mut texts);
    let info = raw::RedisModuleCommandInfo {
        version: &version,
        summary: command.summary.as_ptr(),
        complexity: ptr::null(),
        since: command.since.as_ptr(),
        history: ptr::null_mut(),
        tips: ptr::null(),
        arity: command.arity,
        key_specs: if keys.is_empty() { ptr::null_mut() } else { keys.as_mut_ptr() },
        args: if arguments.is_empty() { ptr::null_mut() } else { arguments.as_mut_ptr() },
    };
    let described = call!(RedisModule_SetCommandInfo(handle, &info)) == OK;
    // SAFETY: as in `call!`; Redis 7.0 does not have this function, and no categories for modules.
    if let Some(set) = unsafe { raw::RedisModule_SetCommandACLCategories } {
        // SAFETY: the handle and the text live as long as this call.
        unsafe { set(handle, command.categories.as_ptr()) };
    }
    // SAFETY: each pointer came from `Box::into_raw` in `argument_table`, once; the server has
    // copied what it wanted.
    texts.into_iter().for_each(|table| drop(unsafe { Box::from_raw(table) }));
    if described { Ok(()) } else { Err(refused()) }
}

/// One key at a fixed position, by which a cluster finds the node; the key itself is not read.
fn key_specs(position: Option<c_int>) -> Vec<raw::RedisModuleCommandKeySpec> {
    let Some(position) = position else { return Vec::new() };
    // SAFETY: the struct is numbers and pointers, for which zero is a value: no notes, no search.
    let mut spec: raw::RedisModuleCommandKeySpec = unsafe { std::mem::zeroed() };
    // SAFETY: as above; the table ends with such a one.
    let end: raw::RedisModuleCommandKeySpec = unsafe { std::mem::zeroed() };
    // The server wants one of the kinds of access, even for what is only routed.
    spec.flags = u64::from(raw::REDISMODULE_CMD_KEY_RO | raw::REDISMODULE_CMD_KEY_NOT_KEY);
    spec.begin_search_type = raw::RedisModuleKeySpecBeginSearchType_REDISMODULE_KSPEC_BS_INDEX;
    spec.bs.index.pos = position;
    spec.find_keys_type = raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_RANGE;
    spec.fk.range.lastkey = 0;
    spec.fk.range.keystep = 1;
    spec.fk.range.limit = 0;
    vec![spec, end]
}

type ArgumentTable = [raw::RedisModuleCommandArg];

/// The table that the server wants, with an empty row at its end; the tables of the parts are
/// added to `tables`, to be freed afterwards.
fn argument_table(
    arguments: &[command_info::Argument],
    tables: &mut Vec<*mut ArgumentTable>,
) -> Vec<raw::RedisModuleCommandArg> {
    if arguments.is_empty() {
        return Vec::new();
    }
    let mut table = Vec::with_capacity(arguments.len() + 1);
    for argument in arguments {
        let parts = argument_table(&argument.parts, tables);
        let subargs = if parts.is_empty() {
            ptr::null_mut()
        } else {
            let parts = Box::into_raw(parts.into_boxed_slice());
            tables.push(parts);
            parts.cast()
        };
        table.push(raw::RedisModuleCommandArg {
            name: argument.name.as_ptr(),
            type_: argument_kind(argument.kind),
            key_spec_index: -1,
            token: argument.token.as_ref().map_or(ptr::null(), |token| token.as_ptr()),
            summary: ptr::null(),
            since: ptr::null(),
            flags: argument_flags(argument.flags),
            deprecated_since: ptr::null(),
            subargs,
            display_text: ptr::null(),
        });
    }
    // SAFETY: the struct is numbers and pointers; one without a name ends the table.
    table.push(unsafe { std::mem::zeroed() });
    table
}

fn argument_kind(kind: &str) -> raw::RedisModuleCommandArgType {
    match kind {
        "integer" => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_INTEGER,
        "pattern" => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_PATTERN,
        "pure-token" => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_PURE_TOKEN,
        "oneof" => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_ONEOF,
        "block" => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_BLOCK,
        _ => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_STRING,
    }
}

fn argument_flags(flags: &[&str]) -> c_int {
    let flag = |name: &&str| match *name {
        "optional" => raw::REDISMODULE_CMD_ARG_OPTIONAL as c_int,
        "multiple" => raw::REDISMODULE_CMD_ARG_MULTIPLE as c_int,
        "multiple_token" => raw::REDISMODULE_CMD_ARG_MULTIPLE_TOKEN as c_int,
        _ => 0,
    };
    flags.iter().map(flag).fold(0, |all, flag| all | flag)
}

extern "C" fn on_command(
    context: *mut raw::RedisModuleCtx,
    words: *mut *mut raw::RedisModuleString,
    count: c_int,
) -> c_int {
    guarded(ERR, || {
        entry::command(&mut Server::new(context), &words_of(words, count));
        OK
    })
}

extern "C" fn on_notification(
    context: *mut raw::RedisModuleCtx,
    _kind: c_int,
    event: *const c_char,
    key: *mut raw::RedisModuleString,
) -> c_int {
    guarded(OK, || {
        // SAFETY: the server gives the event's name as a C string, for the time of the call.
        let event = unsafe { CStr::from_ptr(event) }.to_bytes();
        let key = NotifiedKey { string: key, bytes: bytes_of(key) };
        entry::notification(&Server::new(context), event, &key);
        OK
    })
}

extern "C" fn on_filter(filter: *mut raw::RedisModuleCommandFilterCtx) {
    guarded((), || entry::command_begins(&Words { filter, call: PhantomData }));
}

extern "C" fn on_event_loop(
    context: *mut raw::RedisModuleCtx,
    _event: raw::RedisModuleEvent,
    subevent: u64,
    _data: *mut c_void,
) {
    if subevent == raw::REDISMODULE_SUBEVENT_EVENTLOOP_BEFORE_SLEEP {
        guarded((), || entry::before_sleep(&Server::new(context)));
    }
}

extern "C" fn on_role(
    context: *mut raw::RedisModuleCtx,
    _event: raw::RedisModuleEvent,
    subevent: u64,
    _data: *mut c_void,
) {
    let is_primary = subevent == raw::REDISMODULE_EVENT_REPLROLECHANGED_NOW_MASTER;
    guarded((), || entry::role_changed(&Server::new(context), is_primary));
}

extern "C" fn on_loading(
    context: *mut raw::RedisModuleCtx,
    _event: raw::RedisModuleEvent,
    subevent: u64,
    _data: *mut c_void,
) {
    let loading = match subevent {
        raw::REDISMODULE_SUBEVENT_LOADING_ENDED => entry::Loading::Ended,
        raw::REDISMODULE_SUBEVENT_LOADING_FAILED => entry::Loading::Failed,
        raw::REDISMODULE_SUBEVENT_LOADING_AOF_START => entry::Loading::AppendOnlyFile,
        _ => entry::Loading::Dump,
    };
    guarded((), || entry::loading(&Server::new(context), loading));
}

extern "C" fn on_shutdown(
    context: *mut raw::RedisModuleCtx,
    _event: raw::RedisModuleEvent,
    _subevent: u64,
    _data: *mut c_void,
) {
    guarded((), || entry::shutdown(&Server::new(context)));
}

extern "C" fn on_aux_save(io: *mut raw::RedisModuleIO, _when: c_int) {
    guarded((), || entry::save(&mut Dump { io }, entry::Empty::Written));
}

extern "C" fn on_aux_save2(io: *mut raw::RedisModuleIO, _when: c_int) {
    guarded((), || entry::save(&mut Dump { io }, entry::Empty::LeftOut));
}

extern "C" fn on_aux_load(io: *mut raw::RedisModuleIO, version: c_int, _when: c_int) -> c_int {
    guarded(ERR, || {
        if version != TYPE_VERSION {
            return ERR;
        }
        if entry::restore(&mut Dump { io }) { OK } else { ERR }
    })
}
