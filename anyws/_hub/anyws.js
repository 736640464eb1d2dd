// anyws.js: the browser's end of a hub. One file, no build, no dependency.
//
//   <script src="/anyws.js"></script>
//   const feed = anyws.connect("/ws/lobby", {
//     onMessage: ({topic, text, position}) => show(text),
//     onGap: ({topic}) => tell("some messages were missed"),
//     onState: ({state, code, reason}) => tell(state),
//   })
//   feed.send("hello")
//   feed.close()
//
// The server attaches the connection with `encode=Event.as_json`, and with the positions
// of the query parameter "since", a JSON object of topics and positions:
//
//   since = anyws.Position.from_json(ws.query_params.get("since"), "lobby")
//   with hub.attach(ws, "lobby", since=since, encode=anyws.Event.as_json): ...
//
// - A lost connection is opened again, after a random delay that grows with each failure,
//   and at once when the browser is online again. It resumes where it was.
// - A connection without a heartbeat from the hub for too long counts as lost.
// - `onGap` reports missed messages, in their place.
// - A connection is not opened again after `close()`, or after the server has closed it
//   with one of the codes in `final`.
(() => {
  "use strict"

  const FIRST_DELAY = 500 // milliseconds, before the first try
  const LONGEST_DELAY = 30_000
  const STEADY = 5_000 // after a connection that lasted so long, the delays are short again
  const LATE = 2.5 // intervals without a heartbeat after which a connection is lost
  const FINAL = [1000, 1003, 1007, 1008, 1009, 1010]
  const nothing = () => {}

  class Connection {
    constructor(url, options) {
      const {positions = {}, final = FINAL} = options
      this.positions = {...positions}
      this._url = new URL(url, location.href)
      this._url.protocol = this._url.protocol.replace(/^http/, "ws")
      this._final = final
      this._onMessage = options.onMessage ?? nothing
      this._onGap = options.onGap ?? nothing
      this._onState = options.onState ?? nothing
      this._socket = null
      this._timer = null
      this._watch = null
      this._failures = 0
      this._closed = false
      this._online = () => this._socket ?? this._open()
      addEventListener("online", this._online)
      this._open()
    }

    // Send a message; false if there is no connection now.
    send(message) {
      if (this._socket?.readyState !== WebSocket.OPEN) return false
      this._socket.send(message)
      return true
    }

    // Close for good.
    close(code = 1000, reason = "") {
      const socket = this._socket
      this._end("closed", code, reason)
      socket?.close(code, reason)
    }

    _open() {
      if (this._closed) return
      clearTimeout(this._timer)
      const url = new URL(this._url)
      if (Object.keys(this.positions).length) {
        url.searchParams.set("since", JSON.stringify(this.positions))
      }
      const socket = (this._socket = new WebSocket(url))
      const current = handler => event => socket === this._socket && handler(event)
      let opened = Infinity
      socket.onopen = current(() => {
        opened = Date.now()
        this._state("open")
      })
      socket.onmessage = current(event => this._take(event.data))
      socket.onclose = current(({code, reason}) => {
        if (this._final.includes(code)) return this._end("closed", code, reason)
        if (Date.now() - opened > STEADY) this._failures = 0
        this._lost(code, reason)
      })
    }

    _take(data) {
      let event
      try {
        event = JSON.parse(data)
      } catch {
        event = {text: data} // a message of the handler's own
      }
      if (event?.heartbeat) return this._expect(event.heartbeat * 1000)
      if (this._watch) this._expect(this._interval)
      if (event?.position === undefined) return this._onMessage({text: data})
      this.positions[event.topic] = event.position
      if (event.gap) return this._onGap(event)
      if (event.base64 !== undefined) {
        event.bytes = Uint8Array.from(atob(event.base64), c => c.charCodeAt(0))
      }
      this._onMessage(event)
    }

    // Count the connection as lost, unless more comes in time.
    _expect(interval) {
      this._interval = interval
      clearTimeout(this._watch)
      const socket = this._socket
      this._watch = setTimeout(() => {
        this._lost(1006, "no heartbeat")
        socket.close()
      }, LATE * interval)
    }

    _lost(code, reason) {
      clearTimeout(this._watch)
      this._socket = this._watch = null
      const longest = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** this._failures++)
      this._timer = setTimeout(() => this._open(), Math.random() * longest)
      this._state("lost", code, reason)
    }

    _end(state, code, reason) {
      if (this._closed) return
      this._closed = true
      removeEventListener("online", this._online)
      clearTimeout(this._timer)
      clearTimeout(this._watch)
      this._socket = null
      this._state(state, code, reason)
    }

    _state(state, code, reason) {
      this._onState({state, code, reason})
    }
  }

  globalThis.anyws = {connect: (url, options = {}) => new Connection(url, options)}
})()
