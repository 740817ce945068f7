//! What the host's files say of its users.

/// The host's name for a user. Without a C library's plug-ins, only `/etc/passwd` is asked.
pub fn name(uid: u32) -> Option<String> {
    let data = sys::file::read("/etc/passwd").ok()?;
    name_in(&String::from_utf8_lossy(&data), uid)
}

pub fn name_in(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// The file of this name in the directories of the caller's `PATH`, if it is there to be executed.
pub fn program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name)).find(|file| {
        sys::file::stat(file).is_ok_and(|stat| sys::file::is_regular(&stat) && stat.st_mode & 0o111 != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nalice:x:1000:1000::/:/bin/sh\nbob:x:1000:1:::\n";
        assert_eq!(name_in(passwd, 1000).as_deref(), Some("alice"));
        assert_eq!(name_in(passwd, 7), None);
    }
}
