//! A directory of a test's own.

use std::path::{Path, PathBuf};

/// A directory that is removed when the test is done with it.
pub struct Scratch(PathBuf);

impl Scratch {
    /// An empty one, of which no other test knows.
    pub fn new(name: &str) -> Scratch {
        let seed = ferrite::base::random::seed();
        let path = std::env::temp_dir().join(format!("ferrite-{name}-{seed:016x}"));
        std::fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
