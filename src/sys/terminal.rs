//! A terminal: its size, single keys, and a screen of its own that is left as it was found, whatever happens.
//!
//! A [`Screen`] ends with its value, and before a panic's message is printed, so that it lands where somebody sees it. A
//! signal that kills does neither: who enters a screen has blocked them (`sys::signals`). *Not here*: what is drawn
//! (`client::top`). Sources: termios(3), `ioctl_tty(2)`, xterm's control sequences.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

/// The other screen, no cursor, no line that breaks by itself.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?7l";
/// All of it back.
const LEAVE: &[u8] = b"\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Characters that fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Side by side.
    pub columns: usize,
    /// One below the other.
    pub rows: usize,
}

/// The size of the terminal on standard output; `None` when there is none.
pub fn size() -> Option<Size> {
    size_of(io::stdout().as_fd())
}

fn size_of(terminal: BorrowedFd<'_>) -> Option<Size> {
    let mut size = MaybeUninit::<libc::winsize>::zeroed();
    // SAFETY: the descriptor is open for the whole call, and TIOCGWINSZ writes one winsize to a place of that size.
    let failed = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, size.as_mut_ptr()) };
    // SAFETY: a winsize is four numbers: its zeroes are valid, whether or not the call wrote over them.
    let size = unsafe { size.assume_init() };
    // A terminal that does not know its size says 0.
    let known = failed == 0 && size.ws_col > 0 && size.ws_row > 0;
    known.then(|| Size { columns: usize::from(size.ws_col), rows: usize::from(size.ws_row) })
}

/// What has to be undone.
struct Entered {
    input: OwnedFd,
    output: File,
    before: libc::termios,
}

static ENTERED: Mutex<Option<Entered>> = Mutex::new(None);
static LEAVE_ON_PANIC: Once = Once::new();

/// A terminal that shows only what is drawn, and hands out each key as it is pressed. One at a time.
#[derive(Debug)]
pub struct Screen {
    input: File,
}

impl Screen {
    /// Takes the terminal on standard input and output.
    pub fn enter() -> io::Result<Self> {
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        Self::enter_on(input, io::stdout().as_fd().try_clone_to_owned()?)
    }

    fn enter_on(input: OwnedFd, output: OwnedFd) -> io::Result<Self> {
        LEAVE_ON_PANIC.call_once(|| {
            let next = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                leave();
                next(panic);
            }));
        });
        let before = attributes(input.as_fd())?;
        let keys = File::from(input.try_clone()?);
        let mut output = File::from(output);
        set_attributes(input.as_fd(), &single_keys(before))?;
        let entered = output.write_all(ENTER);
        *ENTERED.lock().unwrap_or_else(PoisonError::into_inner) = Some(Entered { input, output, before });
        let screen = Self { input: keys };
        // From here on a failure undoes all of it.
        entered.map(|()| screen)
    }

    /// The next byte of a key, if one is pressed within that time; an end of input is an error.
    pub fn key(&mut self, within: Duration) -> io::Result<Option<u8>> {
        let mut asked = libc::pollfd { fd: self.input.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let timeout = i32::try_from(within.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: `asked` is one initialised pollfd, valid for the whole call; its descriptor is open.
        let ready = unsafe { libc::poll(&raw mut asked, 1, timeout) };
        if ready <= 0 {
            return Ok(None);
        }
        let mut key = [0];
        match self.input.read(&mut key) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(Some(key[0])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// Undoes what the screen did; nothing the second time. What fails is left: there is nobody to tell.
fn leave() {
    let entered = ENTERED.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(Entered { input, mut output, before }) = entered {
        let _ = output.write_all(LEAVE);
        let _ = set_attributes(input.as_fd(), &before);
    }
}

/// Keys come at once and unseen, Ctrl-C and Ctrl-Z among them; what is written is treated as before.
fn single_keys(mut attributes: libc::termios) -> libc::termios {
    attributes.c_lflag &= !(libc::ICANON | libc::ECHO | libc::ISIG | libc::IEXTEN);
    attributes.c_iflag &= !(libc::IXON | libc::ICRNL);
    attributes.c_cc[libc::VMIN] = 1;
    attributes.c_cc[libc::VTIME] = 0;
    attributes
}

fn attributes(terminal: BorrowedFd<'_>) -> io::Result<libc::termios> {
    let mut attributes = MaybeUninit::<libc::termios>::uninit();
    // SAFETY: the descriptor is open, and the place is writable for one termios for the whole call.
    if unsafe { libc::tcgetattr(terminal.as_raw_fd(), attributes.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: tcgetattr returned 0, so it wrote all of it.
    Ok(unsafe { attributes.assume_init() })
}

fn set_attributes(terminal: BorrowedFd<'_>, attributes: &libc::termios) -> io::Result<()> {
    // SAFETY: the descriptor is open, and `attributes` is initialised for the whole call.
    if unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSADRAIN, ptr(attributes)) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn ptr(attributes: &libc::termios) -> *const libc::termios {
    std::ptr::from_ref(attributes)
}

#[cfg(test)]
mod tests {
    use std::os::fd::FromRawFd as _;

    use super::*;

    /// A terminal's two ends: the one that shows and presses keys, and the one that a program has.
    fn terminal(columns: u16, rows: u16) -> (File, OwnedFd) {
        let (mut shows, mut has) = (-1, -1);
        let mut size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let (name, attributes) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: both numbers and the size are valid for the whole call; name and attributes may be null.
        let failed = unsafe { libc::openpty(&raw mut shows, &raw mut has, name, attributes, &raw mut size) };
        assert_eq!(failed, 0, "{}", io::Error::last_os_error());
        // SAFETY: openpty returned 0, so the number is an open descriptor that nobody else has.
        let shows = unsafe { File::from_raw_fd(shows) };
        // SAFETY: as above.
        (shows, unsafe { OwnedFd::from_raw_fd(has) })
    }

    fn enter(has: &OwnedFd) -> Screen {
        let end = || has.try_clone().expect("descriptors are left");
        Screen::enter_on(end(), end()).expect("a terminal")
    }

    fn modes(has: &OwnedFd) -> (u32, u32) {
        let attributes = attributes(has.as_fd()).expect("a terminal");
        (attributes.c_lflag, attributes.c_iflag)
    }

    fn shown(shows: &mut File, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        shows.read_exact(&mut bytes).expect("it was written");
        bytes
    }

    /// One test, because a process has one screen at a time.
    #[test]
    fn a_terminal_is_left_as_it_was_found_at_the_end_and_by_a_panic() {
        let (mut shows, has) = terminal(80, 24);
        let before = modes(&has);
        {
            let mut screen = enter(&has);
            assert_ne!(modes(&has), before);
            assert_eq!(shown(&mut shows, ENTER.len()), ENTER);
            assert_eq!(screen.key(Duration::ZERO).expect("open"), None);
            // Without a line's end, and without being a signal.
            shows.write_all(b"q\x03").expect("open");
            assert_eq!(screen.key(Duration::from_secs(5)).expect("open"), Some(b'q'));
            assert_eq!(screen.key(Duration::from_secs(5)).expect("open"), Some(3));
        }
        assert_eq!(modes(&has), before);
        assert_eq!(shown(&mut shows, LEAVE.len()), LEAVE);

        let screen = enter(&has);
        shown(&mut shows, ENTER.len());
        // The hook runs before anything is unwound: nothing but it can have left the screen.
        let kept = std::mem::ManuallyDrop::new(screen);
        let panicked = std::panic::catch_unwind(|| panic!("drawn badly"));
        assert!(panicked.is_err());
        assert_eq!(modes(&has), before);
        assert_eq!(shown(&mut shows, LEAVE.len()), LEAVE);
        drop(std::mem::ManuallyDrop::into_inner(kept));
    }

    #[test]
    fn a_size_is_known_of_a_terminal_only() {
        let (_shows, has) = terminal(132, 43);
        assert_eq!(size_of(has.as_fd()), Some(Size { columns: 132, rows: 43 }));
        let (_shows, unknown) = terminal(0, 0);
        assert_eq!(size_of(unknown.as_fd()), None);
        let file = File::open("/dev/null").expect("it is everywhere");
        assert_eq!(size_of(file.as_fd()), None);
    }
}
