// The guarded API. Its refusal names the flow that steps the session up.
export async function transfer(sessionToken) {
  const response = await fetch("/api/transfers", {
    method: "POST",
    headers: { Authorization: `Bearer ${sessionToken}`, "Content-Type": "application/json" },
    body: JSON.stringify({ euros: 100 }),
  });
  const reply = await response.json();
  if (response.ok) return { outcome: `Transfer ${reply.reference} was made.` };
  if (reply.code === "insufficient_user_authentication") {
    return { outcome: "One moment: please confirm that it is you.", flowId: reply.step_up?.flow_id ?? "step-up" };
  }
  return { outcome: reply.detail };
}
