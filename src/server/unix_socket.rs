//! The Unix socket: accessible to its owner only unless it is set otherwise, used by one agent, bound again when its path disappears.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Group;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{error, warn};

use crate::config::SocketAccess;

/// Interval of the check for the path. Restoring Home Assistant's `share` folder deletes it.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Length of the kernel's `sun_path` without its terminating zero. Source: unix(7).
const MAX_PATH_BYTES: usize = 107;

/// A Unix socket bound to a path.
#[derive(Debug)]
pub struct UnixSocket {
    path: PathBuf,
    access: SocketAccess,
    listener: UnixListener,
    inode: Inode,
    check: Interval,
}

/// Device and inode, which tell this socket from another one at the same path.
type Inode = (u64, u64);

impl UnixSocket {
    /// Listens at `path`. Replaces a socket that a dead process left behind.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] when another agent listens there, or the path is no socket.
    pub async fn bind(path: &Path, access: SocketAccess) -> io::Result<Self> {
        refuse_when_too_long(path)?;
        refuse_when_taken(path).await?;
        let (listener, inode) = listen(path, &access)?;
        let mut check = interval(CHECK_INTERVAL);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            path: path.to_owned(),
            access,
            listener,
            inode,
            check,
        })
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Accepts the next connection, and binds again when the path disappears.
    ///
    /// # Errors
    /// Those of `accept`.
    pub async fn accept(&mut self) -> io::Result<UnixStream> {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => return accepted.map(|(stream, _)| stream),
                _ = self.check.tick() => self.rebind_when_gone(),
            }
        }
    }

    fn rebind_when_gone(&mut self) {
        if self.path.exists() {
            return;
        }
        match listen(&self.path, &self.access) {
            Ok((listener, inode)) => {
                warn!(
                    "the socket \"{}\" had disappeared and was created again",
                    self.path.display()
                );
                (self.listener, self.inode) = (listener, inode);
            }
            Err(error) => error!(
                "the socket \"{}\" has disappeared and cannot be created: {error}",
                self.path.display()
            ),
        }
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // Another agent may have bound its own socket there.
        if inode_of(&self.path).is_ok_and(|inode| inode == self.inode) {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// The kernel checks only the path passed to bind, which is a temporary one here.
fn refuse_when_too_long(path: &Path) -> io::Result<()> {
    let private =
        path.parent().map_or(0, |parent| parent.as_os_str().len()) + "/.sba-1234567/s".len();
    let length = path.as_os_str().len().max(private);
    if length <= MAX_PATH_BYTES {
        return Ok(());
    }
    let why = format!(
        "listen.socket is {length} bytes long, and a socket's path may have {MAX_PATH_BYTES}: choose a shorter one"
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}

async fn refuse_when_taken(path: &Path) -> io::Result<()> {
    let in_use = |why: &str| {
        io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("\"{}\" {why}", path.display()),
        )
    };
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type()) {
        return Err(in_use(
            "is not a socket: choose another path for listen.socket, or remove it",
        ));
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(in_use(
            "is the socket of an agent that is running: stop that one first",
        )),
        Err(_) => Ok(()),
    }
}

/// Binds inside a private folder, then renames the socket to its path: other users can never connect, whatever the umask.
fn listen(path: &Path, access: &SocketAccess) -> io::Result<(UnixListener, Inode)> {
    let group = access.group.as_deref().map(group_id).transpose()?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    let named = |error: io::Error| {
        let place = path.display();
        let why = format!(
            "The socket \"{place}\" cannot be created: {error}. Set listen.socket to a path in a folder that the agent can write to."
        );
        io::Error::new(error.kind(), why)
    };
    DirBuilder::new()
        .recursive(true)
        .mode(folder_mode(access))
        .create(parent)
        .map_err(named)?;
    let private = parent.join(format!(".sba-{}", std::process::id()));
    drop(fs::remove_dir_all(&private));
    DirBuilder::new()
        .mode(0o700)
        .create(&private)
        .map_err(named)?;
    let bound = bind_in(&private, path, access.mode, group);
    drop(fs::remove_dir_all(&private));
    bound.map_err(named)
}

fn bind_in(
    private: &Path,
    path: &Path,
    mode: u32,
    group: Option<u32>,
) -> io::Result<(UnixListener, Inode)> {
    let temporary = private.join("s");
    let listener = UnixListener::bind(&temporary)?;
    if group.is_some() {
        chown(&temporary, None, group)?;
    }
    fs::set_permissions(&temporary, Permissions::from_mode(mode))?;
    let inode = inode_of(&temporary)?;
    fs::rename(&temporary, path)?;
    Ok((listener, inode))
}

/// Others who may use the socket must be able to reach it, and nothing else in its folder.
const fn folder_mode(access: &SocketAccess) -> u32 {
    if access.mode == 0o600 { 0o700 } else { 0o711 }
}

/// Number of a group, by its name or number.
fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    match Group::from_name(group)? {
        Some(found) => Ok(found.gid.as_raw()),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("listen.socket_group names \"{group}\", and this machine has no such group"),
        )),
    }
}

fn inode_of(path: &Path) -> io::Result<Inode> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket_in(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("run/agent.sock")
    }

    async fn bind(path: &Path) -> io::Result<UnixSocket> {
        UnixSocket::bind(path, SocketAccess::default()).await
    }

    #[tokio::test]
    async fn socket_is_accessible_to_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = socket_in(&folder);
        let _socket = bind(&path).await.unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "temporary files are removed"
        );
    }

    #[tokio::test]
    async fn group_and_mode_of_socket_can_be_set() {
        let folder = tempfile::tempdir().unwrap();
        let path = socket_in(&folder);
        let own = fs::metadata(folder.path()).unwrap().gid();
        let access = |group: &str| SocketAccess {
            mode: 0o660,
            group: Some(group.to_owned()),
        };
        let mut socket = UnixSocket::bind(&path, access(&own.to_string()))
            .await
            .unwrap();
        let modes = || {
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            (mode(&path), mode(path.parent().unwrap()))
        };
        assert_eq!(
            (modes(), fs::metadata(&path).unwrap().gid()),
            ((0o660, 0o711), own)
        );
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        socket.rebind_when_gone();
        assert_eq!(modes(), (0o660, 0o711));

        let other = folder.path().join("s");
        let refused = UnixSocket::bind(&other, access("no such group")).await;
        let refused = refused.unwrap_err().to_string();
        assert!(
            refused.contains("listen.socket_group names \"no such group\""),
            "{refused}"
        );
        assert_eq!(group_id("root").unwrap(), 0);
    }

    #[tokio::test]
    async fn second_agent_is_refused_and_dead_socket_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = socket_in(&folder);
        let first = bind(&path).await.unwrap();
        let refused = bind(&path).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        assert!(
            refused.to_string().contains("stop that one first"),
            "{refused}"
        );
        // A killed process leaves its socket behind.
        let inode = first.inode;
        drop(std::mem::ManuallyDrop::new(first).listener.local_addr());
        fs::remove_file(&path).unwrap();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let second = bind(&path).await.unwrap();
        assert_ne!(second.inode, inode);
        fs::write(folder.path().join("file"), "x").unwrap();
        assert!(bind(&folder.path().join("file")).await.is_err());
    }

    #[tokio::test]
    async fn socket_is_bound_again_after_its_path_disappears() {
        let folder = tempfile::tempdir().unwrap();
        let path = socket_in(&folder);
        let mut socket = bind(&path).await.unwrap();
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        let accepting = tokio::spawn(async move { socket.accept().await.map(drop) });
        let connected = async {
            while UnixStream::connect(&path).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), connected)
            .await
            .unwrap();
        accepting.await.unwrap().unwrap();
    }
}
