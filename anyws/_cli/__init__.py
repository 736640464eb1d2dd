"""The command line: `python -m anyws ws://...`, a WebSocket client for a terminal.

    sys.argv -> arguments.py -> Settings
                                   |
                                   v          conversation.py
    stdin  -> Lines ---------> Conversation <------> a ClientWebSocket <-> the server
              terminal.py       |        |
                                v        v
                           Output -> stdout: messages    stderr: everything else
                           terminal.py

    console.py: what a line that was typed asks for, and what a terminal is shown

`python -m anyws serve module:app` is another program: serving.py makes a server of its
arguments (`_serve`), and runs it until a signal.

A process holds one conversation: it connects, sends a message for each line of standard
input, writes a line for each message, closes, and exits with a status that tells how
that ended (`--help` has the table).

What owns which state:

* `Conversation` owns all that decides the exit status and the closing frame: the first
  failure, the signal, the close that the user asked for, the count of messages. It runs
  three tasks: one sends, one receives, one waits for signals; at a terminal, each
  `/ping` has a task of its own. Any of the three ends the conversation by `_end`, and
  the first call counts. Then the tasks that send, receive and ping are cancelled, and
  the task that has opened the connection sends the closing frame. The signal task goes
  on to the end, for a second signal.
* `Lines` owns a thread, which reads standard input: no event loop can wait for every
  kind of input on every system. The thread is a daemon. It holds a batch of lines until
  the previous batch was taken, and may be left behind in a read that never ends.
* `Output` owns the prompt: a message that arrives while the user types is written above
  the line being typed.
* `console.py` owns no state; it is pure.

Invariants:

* Standard output holds messages alone, one per line, so that a script can read them.
  At a terminal it also shows the prompt.
* No text that comes from a peer reaches a terminal unescaped: a message could move the
  cursor, turn text around, or answer in the user's name.
* Nothing is buffered in Python: a line is out when the call that writes it returns.
* On POSIX, a message for a full pipe does not block the event loop, and nowhere does a
  user who types. A report, and output to a terminal or a file, may block it for as long
  as the stream takes nothing.
* When the reader of a pipe has ended, as after `| head -1`, the conversation closes in
  order.
* A first SIGINT or SIGTERM closes with 1001; a second one, or one after the close has
  begun, ends the process at once.

Which file to change:

* a new option, or its check: `arguments.py` (errors there exit with 2)
* a new command behind a slash, how a message or an end is shown: `console.py`
* what ends a conversation, which exit status follows: `conversation.py`
* how a terminal, a pipe or a file is read or written: `terminal.py`
* an option of the server: `serving.py`

Imports point down: console, arguments, terminal, conversation, serving. The client is
the public one: this wing uses nothing of a connection that a user could not.
"""
