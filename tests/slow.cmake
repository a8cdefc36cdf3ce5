# Tests that take a second or more, by layer, as patterns of --gtest_filter: ./test quick leaves them out. All others together take
# a minute and a half on two processors; `ctest --test-dir out/release -LE slow` says how long now.
set(plimsoll_slow_cli
  "FitCommand.*" "Fitting.*" "Hints.*" "HeaderRoom.*" "Memory.*" "SplitModel.*" "PackageTest.*" "PullTest.KilledAtAnyMomentAndGoneOnWith"
  "PullTest.JsonHasThePlan" "PullTest.TwoAtOnce" "Plan.SessionsMultiplyTheCache" "Plan.ShowsTheMachine" "Plan.LongerContextTakesMore"
  "Plan.SpeedFloorsAreKeptOrRefused" "Plan.TheSameFloorGivesTheSamePlan" "Plan.WritesAPage" "Plan.ShowsTheFrontier"
  "Plan.MeasuresTheMachineOnceAndPredictsSpeeds" "Plan.SaysWhatTheContractNames" "Unwritable.*" "ShortChat.LinesOfAnyLengthArriveWhole"
  "Overwriting.*" "Tokenize.TextsLongerThanTheLine" "Measure.StaysBelowTheLine")
set(plimsoll_slow_engine "Families/Determinism.Sessions/*" "Families/Determinism.Passes/*")
set(plimsoll_slow_fit "Trained.*" "All/Families.FilesHoldWhatWasAskedFor/*" "All/Families.TheHeaderTellsWhatFittingHolds/*")
set(plimsoll_slow_gradient "All/GradientOf.AgreesWithFiniteDifferences/*")
set(plimsoll_slow_hub "DownloadTest.Stalls" "DownloadTest.BusyServers")
set(plimsoll_slow_model "Sources/RoundingFrom.EveryFormatIsAsByHand/*")
set(plimsoll_slow_text "Oniguruma.SetsHoldWhatTheLibrarysHold" "LongText.*")
