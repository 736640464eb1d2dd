"""Topics and members: rooms, broadcast, presence, history.

    hub.publish(topic, message)                 subscription      async for event in ...
            |                                        ^
            v                                        |  take
    Topic   Log  . . . . . . . . .|  <-- cursor -- Reading
            |                                        |  peek, advance
            v                                        v
    Dispatcher   notice, wake ------------------> attachment, the source of a `Feed`
                                                     |
                                                     v
                                                 the session's outbound queue

A message is kept in one place, the log of its topic, with all forms in which it was
sent. A member is an index into the log, its cursor: falling behind, dropping, replaying
and resuming are all moves of the cursor. A member has neither a task nor a queue.

Who owns what:

    Hub           the public methods, and their arguments
    Life          what begins anew each time that a hub is entered: topics, tasks, relay
    Topics        which topics there are, which patterns, who wants which
    Topic, Log    the messages of one topic, their bounds, the history
    Reading       what one member has still to read, its rule and its counters
    Membership    the topics of one member, from its entry to its end
    Roster        who is a member, and whether there can be members
    Relay         the queue to a backend, and the tasks that call it
    Gossip        what hubs tell each other of who is there, by the backend
    Dispatcher    the line of topics whose members have still to be told

How a message goes: `publish` checks it, gives it the next number of the hub (`order`),
appends it to the log and puts the topic into the dispatcher's line. The dispatcher has
each member look at the log (`notice`: there the overflow rules are applied) and wakes
it. A subscription wakes its task. An attachment writes a message that is the only one
at once (`take_now`), where the frames are ours. Otherwise its session's feed takes
messages into the outbound queue; messages that the connection has no room for stay in
the log until the writer task asks for them.

Invariants:

- A member takes messages in the order of the hub, across topics (the dispatcher's
  *horizon*), and each at most once: cursors only move forwards, a resumed one included.
- If a member does not get a message that it wanted, a gap takes its place, or a newer
  message with its key has replaced it.
- A log forgets a message only if it is beyond the bounds; members that keep messages by
  their rule look at it before.
- A topic with members that are up to date holds its history, and nothing else.
- An exception of a user's function (a filter, `encode`) ends only its own member.
- Members leave on any exit, and at the first message after their connection has ended.

Ids: a position is a topic, an epoch (one life of what counts the messages) and an id
that grows within the epoch. Ids of the hub are its `order`, so they grow across topics:
a hub can tell for a topic that it has forgotten altogether whether messages of it were
missed (`Forgotten`).

Which file to change:

    what a topic may be called, what a pattern matches    topic_names
    the text of a position                                position
    what users and browsers see of a message              event
    how much is kept, and what is forgotten               log
    where a member stands in one topic                    cursor
    what is known of topics that are not there            forgotten
    an overflow rule, the order of messages, gaps         reading
    where a resumed member goes on                        topics
    when members are told, and for how long               dispatcher
    arguments that members have in common                 member
    messages, numbers and connections as arguments        arguments
    what joins, leaves and updates are                    presence
    what carries messages between processes               backend
    queueing, retries, gaps when that fails               relay
    what a backend has kept for a member                  replay
    how other processes learn who is there                gossip
    what a page does with all of it                       anyws.js, browser, event
    when a connection takes a message                     _session.feed
    what connections share of a message                   _frames.shared_frames
"""
