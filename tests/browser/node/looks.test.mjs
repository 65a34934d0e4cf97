// The dialog: texts, themes and motion.
import assert from "node:assert/strict";
import { test } from "node:test";
import { User, answers, refusal, status } from "./browser.mjs";

test("texts of one's own", async (t) => {
  const more = {
    "/pay": refusal(["email"]),
    "/step-up/otp/verify": { status: 400, code: "otp_rejected", detail: "No." },
  };
  const user = await User.open(t, { mocks: answers(["email"], more) });
  await user.page.evaluate(() => {
    const { texts } = window.page.stepup.StepUpDialog;
    Object.assign(texts, {
      title: "Bist du es?",
      sent: "An {destination} gesendet.",
      code: "Code",
    });
    const dialog = document.body.appendChild(document.createElement("step-up-dialog"));
    dialog.lang = "de";
    dialog.texts = { confirm: "Bestätigen", otp_rejected: "Der Code stimmt nicht." };
  });
  await user.pay();
  await user.dialog.getByText("An a**@example.com gesendet.").waitFor();
  await user.dialog.getByRole("heading", { name: "Bist du es?" }).waitFor();
  await user.dialog.getByRole("textbox", { name: "Code" }).fill("123456");
  await user.button("Bestätigen").click();
  await user.alert.getByText("Der Code stimmt nicht.").waitFor();
  await user.page.keyboard.press("Escape");
  assert.equal(await user.outcome(), "StepUpCancelled: cancelled");
  assert.equal(
    await user.page.locator("step-up-dialog").count(),
    1,
    "The page's own dialog stays.",
  );
  await user.pay();
  await user.dialog.waitFor();
});

test("a theme of one's own", async (t) => {
  const user = await User.open(t, { mocks: answers(["email", "sms"]) });
  await user.page.evaluate(() => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(`
      step-up-dialog { color-scheme: dark; --step-up-accent: #ffb454; --step-up-accent-text: #2b1a00;
        --step-up-radius: 4px; --step-up-surface: #241a10; --step-up-font: Georgia, serif }
      step-up-dialog::part(title) { text-transform: uppercase }`);
    document.adoptedStyleSheets = [sheet];
  });
  await user.byEmail();
  const look = await user.page.locator("step-up-dialog").evaluate((host) => {
    const style = (selector) => getComputedStyle(host.shadowRoot.querySelector(selector));
    return [
      style(".primary").backgroundColor,
      style("dialog").backgroundColor,
      style("h2").textTransform,
      style("input").borderRadius,
      style("#lead").color,
    ];
  });
  assert.deepEqual(look, [
    "rgb(255, 180, 84)",
    "rgb(36, 26, 16)",
    "uppercase",
    "4px",
    "rgb(170, 176, 192)",
  ]);
  assert.deepEqual(await user.inspect("theme"), []);
});

test("nothing moves for those who want it so", async (t) => {
  for (const [reducedMotion, name] of [
    ["reduce", "none"],
    ["no-preference", "in"],
  ]) {
    const user = await User.open(t, { mocks: answers(["email", "sms"]), reducedMotion });
    await user.pay();
    const animation = (dialog) => getComputedStyle(dialog).animationName;
    assert.equal(await user.dialog.evaluate(animation), name);
  }
});
