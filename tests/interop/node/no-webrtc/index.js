// Undefined is how a browser without WebRTC looks to the client.
export const RTCPeerConnection = undefined
export const RTCSessionDescription = undefined
export const RTCIceCandidate = undefined
