// The project, and on the emulator its address: the server knows both.
const reply = await fetch("/settings.json");
export const { projectId, baseUrl } = await reply.json();
